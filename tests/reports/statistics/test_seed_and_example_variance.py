import time

import numpy as np
import pytest
from scipy import stats

from reports.statistics.seed_and_example_variance import binomial_error, estimate_seed_and_example_variance

MEANS = (1.2, 1.0)


def simulated(generator, num_seeds, num_examples, sds):
    """Draw two levels (S, N) whose examples are correct if a sum of normal effects is positive.

    sds: of an example, of an example under one level, of a seed under one level, and of the rest.
    """
    example, own_example, own_seed, rest = sds
    shared = generator.normal(0, example, num_examples)
    return [
        mean
        + shared
        + generator.normal(0, own_example, num_examples)
        + generator.normal(0, own_seed, (num_seeds, 1))
        + generator.normal(0, rest, (num_seeds, num_examples))
        > 0
        for mean in MEANS
    ]


def true_difference(sds):
    level, reference = stats.norm.cdf(np.array(MEANS) / np.linalg.norm(sds))
    return level - reference


def true_sds(sds, num_examples, generator):
    """Estimate both standard deviations of the difference by drawing a million effects."""
    example, own_example, own_seed, rest = sds
    seeds = generator.normal(0, own_seed, (2, 1_000_000))
    by_seed = stats.norm.cdf((np.array(MEANS)[:, None] + seeds) / np.linalg.norm([example, own_example, rest]))
    examples = generator.normal(0, example, 1_000_000) + generator.normal(0, own_example, (2, 1_000_000))
    by_example = stats.norm.cdf((np.array(MEANS)[:, None] + examples) / np.hypot(own_seed, rest))
    return np.std(by_seed[0] - by_seed[1]), np.std(by_example[0] - by_example[1]) / np.sqrt(num_examples)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_mean_and_components_are_those_of_the_two_way_layout():
    level = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]], dtype=bool)
    reference = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]], dtype=bool)
    found = estimate_seed_and_example_variance(level, reference, rng())
    # differences 0 1 0 1 / 1 0 0 0 / 0 1 1 1: row means 1/2, 1/4, 3/4; column means 1/3, 2/3, 1/3, 2/3; mean 1/2
    of_seeds, of_examples, total = 4 * 2 / 16 / 2, 3 * 4 / 36 / 3, 6 * 0.5**2 * 2
    rest = (total - 2 * of_seeds - 3 * of_examples) / 6
    assert found.mean == 0.5
    assert (found.num_seeds, found.num_examples) == (3, 4)
    assert found.sd_seeds == found.sd_examples == 0  # smaller mean squares than the rest has
    assert found.sd_rest == pytest.approx(np.sqrt(rest / 4))
    assert found.standard_error == pytest.approx(np.sqrt(rest / 12))


def test_the_variance_of_the_mean_is_the_sum_of_its_parts():
    found = estimate_seed_and_example_variance(*simulated(rng(), 6, 500, (1.0, 0.5, 0.3, 0.3)), rng())
    parts = found.sd_seeds**2 / 6 + found.sd_examples**2 + found.sd_rest**2 / 6
    assert found.standard_error**2 == pytest.approx(parts)
    assert min(found.sd_seeds, found.sd_examples, found.sd_rest) > 0
    assert found.ci_low < found.mean < found.ci_high
    assert found.ci_high - found.mean == pytest.approx(
        stats.t.ppf(0.975, found.degrees_of_freedom) * found.standard_error, rel=1e-9
    )


def test_the_components_are_near_the_true_values():
    sds = (2.0, 1.0, 0.3, 0.5)
    of_seeds, of_examples = true_sds(sds, 2000, rng(1))
    found = [estimate_seed_and_example_variance(*simulated(rng(seed), 20, 2000, sds), rng(), 10) for seed in range(30)]
    assert np.sqrt(np.mean([one.sd_seeds**2 for one in found])) == pytest.approx(of_seeds, rel=0.1)
    assert np.sqrt(np.mean([one.sd_examples**2 for one in found])) == pytest.approx(of_examples, rel=0.1)


def test_resampling_unique_columns_is_resampling_examples():
    level, reference = simulated(rng(), 5, 200, (1.0, 1.0, 0.5, 0.5))
    found = estimate_seed_and_example_variance(level, reference, rng(), 20_000)
    difference, draws = level.astype(float) - reference, rng(1)
    plain = [difference[draws.integers(5, size=5)][:, draws.integers(200, size=200)].mean() for _ in range(20_000)]
    expected = np.quantile(plain, [0.025, 0.975])
    np.testing.assert_allclose([found.bootstrap_low, found.bootstrap_high], expected, atol=0.006)


def test_the_result_depends_on_the_seed_and_not_on_the_order():
    level, reference = simulated(rng(), 5, 300, (1.0, 0.5, 0.3, 0.3))
    found = estimate_seed_and_example_variance(level, reference, rng(3))
    assert estimate_seed_and_example_variance(level, reference, rng(3)) == found
    order = rng(4).permutation(300)
    again = estimate_seed_and_example_variance(level[::-1, order], reference[::-1, order], rng(3))
    for name in ("mean", "ci_low", "ci_high", "standard_error", "sd_seeds", "sd_examples", "sd_rest"):
        assert getattr(again, name) == pytest.approx(getattr(found, name), rel=1e-9, abs=1e-12)


def test_swapping_the_levels_mirrors_the_interval():
    level, reference = simulated(rng(), 5, 300, (1.0, 0.5, 0.3, 0.3))
    one, other = (
        estimate_seed_and_example_variance(level, reference, rng()),
        estimate_seed_and_example_variance(reference, level, rng()),
    )
    assert (other.mean, other.ci_low, other.ci_high) == pytest.approx((-one.mean, -one.ci_high, -one.ci_low))
    assert other.sd_examples == pytest.approx(one.sd_examples)


def test_shares_over_several_contexts_are_accepted():
    level, reference = simulated(rng(), 4, 100, (1.0, 0.5, 0.3, 0.3))
    found = estimate_seed_and_example_variance((level + 0.0 + level) / 2, (reference + 0.0 + reference) / 2, rng())
    assert found == estimate_seed_and_example_variance(level, reference, rng())


def test_without_any_difference_the_interval_is_zero():
    same = np.ones((3, 50), dtype=bool)
    found = estimate_seed_and_example_variance(same, same, rng())
    assert (found.mean, found.ci_low, found.ci_high, found.standard_error) == (0, 0, 0, 0)


def test_a_constant_difference_has_no_interval():
    found = estimate_seed_and_example_variance(np.ones((3, 50), dtype=bool), np.zeros((3, 50), dtype=bool), rng())
    assert found.mean == 1
    assert np.isnan([found.ci_low, found.ci_high]).all()


@pytest.mark.parametrize(
    ("one", "other"), [((1, 50), (1, 50)), ((3, 1), (3, 1)), ((3, 50), (3, 49)), ((50,), (50,)), ((2, 2, 2), (2, 2, 2))]
)
def test_unsuitable_matrices_are_rejected(one, other):
    with pytest.raises(ValueError, match=r"the same shape \(seeds, examples\) with at least two of each; found"):
        estimate_seed_and_example_variance(np.ones(one), np.ones(other), rng())


def test_the_binomial_standard_error():
    assert binomial_error(0.88, 872) == pytest.approx(0.0110, abs=1e-4)
    assert binomial_error(1.0, 10) == 0


def test_ten_thousand_examples_take_seconds():
    level, reference = simulated(rng(), 10, 10_000, (2.0, 0.5, 0.12, 0.5))
    started = time.process_time()
    estimate_seed_and_example_variance(level, reference, rng())
    assert time.process_time() - started < 5


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [3, 5, 10])
@pytest.mark.parametrize(
    ("sds", "at_most"),
    [
        ((2.0, 0.5, 0.12, 0.5), 0.98),
        ((1.0, 0.1, 0.4, 0.3), 0.98),
        ((2.0, 1.0, 0.01, 0.3), 0.98),
        ((1.0, 0.02, 0.005, 2.0), 1.0),  # where the rest is all, components cut off at 0 make the interval too wide
    ],
    ids=["mixed", "seeds", "examples", "rest"],
)
def test_the_interval_covers_other_seeds_and_other_examples(num_seeds, sds, at_most):
    generator = rng(num_seeds)
    hits = []
    for _ in range(600):
        found = estimate_seed_and_example_variance(*simulated(generator, num_seeds, 500, sds), generator, 10)
        hits.append(found.ci_low <= true_difference(sds) <= found.ci_high)
    assert 0.90 <= np.mean(hits) <= at_most

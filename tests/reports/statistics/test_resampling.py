import itertools
import math

import numpy as np
import pingouin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from reports.statistics.effect_sizes import correlation, hedges_g_av, pair_statistics, probability_of_superiority
from reports.statistics.rates import wilson_interval
from reports.statistics.resampling import NUM_FLIPS, SignFlipTest, bootstrap_t_interval, sign_flip_test

LEVEL = [0.912, 0.905, 0.931, 0.899, 0.917, 0.921, 0.910, 0.925, 0.908, 0.915]
REFERENCE = [0.904, 0.906, 0.915, 0.894, 0.907, 0.917, 0.905, 0.911, 0.909, 0.906]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=7))
def test_the_sign_flip_test_enumerates_every_pattern(values):
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    expected = np.mean([total >= abs(sum(values)) for total in sums])
    assert sign_flip_test(values) == SignFlipTest(p_value=expected, floor=2.0 ** (1 - len(values)))


def test_the_sign_flip_test_agrees_with_scipy():
    differences = np.subtract(LEVEL, REFERENCE)
    expected = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=2**10)
    assert sign_flip_test(differences).p_value == pytest.approx(expected.pvalue, rel=1e-12)


def test_random_sign_flips_are_reproducible():
    values = np.random.default_rng(0).normal(0.3, size=30)
    one = sign_flip_test(values, seed=1)
    assert one == sign_flip_test(values, seed=1)
    assert one.floor == 1 / NUM_FLIPS
    assert one.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.3)
    assert sign_flip_test(np.abs(values)).p_value == 1 / NUM_FLIPS


def test_differences_of_zero_flip_to_themselves():
    assert sign_flip_test([0.0] * 4).p_value == 1
    assert sign_flip_test([0.0] * 20).p_value == 1
    assert math.isnan(sign_flip_test([]).p_value)


def test_bootstrap_t_needs_ten_differences_that_differ():
    assert np.isnan(bootstrap_t_interval([0.1] * 9 + [0.2])[0]) == np.isnan(bootstrap_t_interval([0.1] * 9 + [0.2])[1])
    for values in ([1.0, 2.0, 3.0], [0.1] * 12, []):
        assert np.isnan(bootstrap_t_interval(values)).all()


def test_bootstrap_t_is_reproducible_and_near_the_t_interval():
    values = np.random.default_rng(3).normal(size=40)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert bootstrap_t_interval(values) == pytest.approx((interval.low, interval.high), abs=0.05)
    assert bootstrap_t_interval(values) == bootstrap_t_interval(values)
    low, high = bootstrap_t_interval(values)
    assert bootstrap_t_interval(values * 1e-200) == pytest.approx((low * 1e-200, high * 1e-200), rel=1e-9, abs=0)


def test_bootstrap_t_agrees_with_another_implementation():
    """The same intervals from resampled values, with another generator."""
    values = np.random.default_rng(5).exponential(size=15)
    drawn = values[np.random.default_rng(6).integers(0, 15, size=(200_000, 15))]
    t = (drawn.mean(axis=1) - values.mean()) / (drawn.std(axis=1, ddof=1) / math.sqrt(15))
    se = values.std(ddof=1) / math.sqrt(15)
    expected = values.mean() - np.quantile(t, [0.975, 0.025]) * se
    assert bootstrap_t_interval(values) == pytest.approx(expected, rel=0.05)


def test_hedges_g_agrees_with_pingouin():
    expected = pingouin.compute_effsize(LEVEL, REFERENCE, paired=True, eftype="hedges")
    assert hedges_g_av(LEVEL, REFERENCE) == pytest.approx(expected, rel=1e-12)


def test_effect_sizes_without_variation_are_nan():
    assert math.isnan(hedges_g_av([1.0], [2.0]))
    assert math.isnan(hedges_g_av([0.0, 0.0], [0.0, 0.0]))
    assert math.isnan(hedges_g_av([0.5, 0.5], [0.7, 0.7]))


def test_the_correlation_is_pearsons():
    assert correlation(LEVEL, REFERENCE) == pytest.approx(stats.pearsonr(LEVEL, REFERENCE).statistic, rel=1e-12)
    assert math.isnan(correlation([1.0, 2.0], [1.0, 2.0]))
    assert math.isnan(correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))


def test_pairs_are_counted_and_folds_are_not_resampled():
    found = pair_statistics([*LEVEL, 0.5], [*REFERENCE, 0.5])
    assert (found.num_higher, found.num_lower, found.num_equal) == (8, 2, 1)
    assert found.sign_flip_floor == 2**-10
    folds = pair_statistics(LEVEL, REFERENCE, overlap=1 / 9)
    assert np.isnan([folds.sign_flip_p, folds.sign_flip_floor, folds.bootstrap_low, folds.bootstrap_high]).all()
    assert folds.num_higher == 8
    assert math.isnan(pair_statistics([1.0], [2.0]).sign_flip_p)


@pytest.mark.parametrize(("count", "n"), [(0, 5), (5, 5), (1, 20), (7, 9), (0, 1)])
def test_wilson_intervals_are_those_of_statsmodels(count, n):
    assert wilson_interval(count, n) == pytest.approx(proportion_confint(count, n, method="wilson"), abs=1e-12)


def test_a_rate_of_no_trials_is_nan_and_a_wrong_count_an_error():
    assert np.isnan(wilson_interval(0, 0)).all()
    with pytest.raises(ValueError, match="a count lies between 0 and n; found 3 of 2"):
        wilson_interval(3, 2)


def test_a_tie_is_half_a_win():
    rate, low, high = probability_of_superiority(3, 1, 2)
    assert (rate, (low, high)) == (4 / 6, wilson_interval(4, 6))
    assert math.isnan(probability_of_superiority(0, 0, 0)[0])

import math

import numpy as np
import pingouin
import pytest
from scipy import stats

from reports.statistics.power import (
    minimum_detectable_effect,
    num_pairs_for_difference,
    num_pairs_for_equivalence,
    power_of_difference,
    power_of_equivalence,
)


@pytest.mark.parametrize(
    ("num_pairs", "expected"),
    [
        (3, (3.26, 7.32, 10.4)),
        (4, (2.13, 3.72, 4.71)),
        (5, (1.68, 2.63, 3.16)),
        (8, (1.16, 1.60, 1.81)),
        (10, (1.00, 1.33, 1.48)),
        (20, (0.66, 0.84, 0.91)),
        (30, (0.53, 0.66, 0.72)),
    ],
)
def test_the_minimum_detectable_effect_is_as_documented(num_pairs, expected):
    found = [minimum_detectable_effect(num_pairs, alpha) for alpha in (0.05, 0.01, 0.005)]
    assert found == pytest.approx(expected, rel=5e-3, abs=6e-3)


@pytest.mark.parametrize(("num_pairs", "alpha"), [(2, 0.05), (3, 0.005), (4, 0.005), (7, 0.01), (200, 0.05)])
def test_the_minimum_detectable_effect_has_the_requested_power(num_pairs, alpha):
    effect = minimum_detectable_effect(num_pairs, alpha)
    draws = np.random.default_rng(0)
    spread = np.sqrt(draws.chisquare(num_pairs - 1, 400_000) / (num_pairs - 1))
    means = draws.normal(effect * math.sqrt(num_pairs), size=400_000)
    assert np.mean(np.abs(means / spread) > stats.t.isf(alpha / 2, num_pairs - 1)) == pytest.approx(0.8, abs=0.003)


@pytest.mark.parametrize(("num_pairs", "difference"), [(5, 0.5), (5, 1.0), (12, 0.3), (40, 0.5)])
def test_power_agrees_with_pingouin(num_pairs, difference):
    expected = pingouin.power_ttest(d=difference, n=num_pairs, contrast="paired", alpha=0.05)
    assert power_of_difference(num_pairs, difference) == pytest.approx(expected, rel=1e-6)


def test_the_required_seeds_are_as_documented():
    assert [num_pairs_for_difference(d) for d in (0.5, 0.8, 1.0, 1.5, 2.0)] == [34, 15, 10, 6, 5]
    assert [num_pairs_for_equivalence(margin) for margin in (2.0, 1.5, 1.0, 0.5)] == [4, 6, 11, 36]


@pytest.mark.parametrize(("num_pairs", "margin"), [(4, 2.0), (11, 1.0), (36, 0.5), (5, 0.5), (3, 8.0)])
def test_the_power_of_equivalence_agrees_with_simulated_studies(num_pairs, margin):
    draws = np.random.default_rng(1).normal(size=(200_000, num_pairs))
    half = stats.t.isf(0.05, num_pairs - 1) * draws.std(axis=1, ddof=1) / math.sqrt(num_pairs)
    expected = np.mean(np.abs(draws.mean(axis=1)) + half < margin)
    assert power_of_equivalence(num_pairs, margin) == pytest.approx(expected, abs=0.004)


def test_repeating_folds_cannot_reduce_the_effect_below_a_floor():
    assert minimum_detectable_effect(5, overlap=1 / 4) == pytest.approx(
        minimum_detectable_effect(5) * math.sqrt((1 / 5 + 1 / 4) * 5), rel=1e-6
    )
    assert num_pairs_for_difference(1.0, overlap=1 / 4) == math.inf
    assert num_pairs_for_equivalence(1.0, overlap=1 / 4) == math.inf
    assert num_pairs_for_difference(2.0, overlap=1 / 9) < math.inf


def test_one_pair_detects_nothing():
    assert math.isnan(minimum_detectable_effect(1))
    assert math.isnan(power_of_difference(1, 1.0))
    assert math.isnan(power_of_equivalence(0, 1.0))


def test_a_tiny_margin_needs_infinitely_many_seeds():
    assert num_pairs_for_difference(1e-9) == math.inf
    assert num_pairs_for_difference(0.0) == math.inf


@pytest.mark.parametrize("num_pairs", [2, 3, 5, 30, 31, 32, 100, 10_000])
@pytest.mark.parametrize("alpha", [0.05, 0.0005])
@pytest.mark.parametrize("shift", [0.0, 1.0, 4.0])
def test_power_is_that_of_the_noncentral_t(num_pairs, alpha, shift):
    critical = stats.t.isf(alpha / 2, num_pairs - 1)
    expected = stats.nct.sf(critical, num_pairs - 1, shift) + stats.nct.cdf(-critical, num_pairs - 1, shift)
    assert power_of_difference(num_pairs, shift / math.sqrt(num_pairs), alpha) == pytest.approx(expected, abs=2e-7)

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression

from reports.statistics.paired import equivalence, holm, mean_interval, paired_difference, subtract_pairs

scores = st.floats(min_value=-1e3, max_value=1e3, allow_subnormal=False)


def pairs(min_size):
    return st.lists(st.tuples(scores, scores), min_size=min_size, max_size=12)


def test_mean_interval_by_hand():
    # 2, 4, 9: mean 5, sd sqrt(13), t(0.975, 2) = 4.302653
    found = mean_interval([2.0, 4.0, 9.0])
    assert (found.n, found.mean) == (3, 5.0)
    assert found.sd == pytest.approx(math.sqrt(13), rel=1e-15)
    assert found.ci_low == pytest.approx(5 - 4.302652729911275 * math.sqrt(13 / 3), rel=1e-9)
    assert found.ci_high == pytest.approx(5 + 4.302652729911275 * math.sqrt(13 / 3), rel=1e-9)


def test_the_mean_of_one_value_has_no_standard_deviation():
    found = mean_interval([0.9])
    assert (found.n, found.mean) == (1, 0.9)
    assert np.isnan([found.sd, found.ci_low, found.ci_high]).all()


def test_the_mean_of_no_values_is_nan_without_a_warning():
    found = mean_interval([])
    assert found.n == 0
    assert np.isnan([found.mean, found.sd, found.ci_low, found.ci_high]).all()


def test_paired_difference_by_hand():
    # differences 1, 2, 3: mean 2, sd 1, t = 2 sqrt(3) with 2 degrees of freedom: p = 1 - t / sqrt(t^2 + 2)
    found = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd, found.d_z) == (3, 2.0, 1.0, 2.0)
    assert found.p_value == pytest.approx(1 - math.sqrt(12) / math.sqrt(14), rel=1e-12)
    assert found.ci_low == pytest.approx(2 - 4.302652729911275 / math.sqrt(3), rel=1e-9)


@given(pairs(min_size=2))
def test_paired_difference_agrees_with_scipy(values):
    level, reference = np.array(values).T
    found = paired_difference(level, reference)
    if found.is_constant or found.sd < max(1e-9 * np.abs(values).max(), 1e-100):
        return  # scipy warns there that its own result is not reliable, or squares it to 0
    expected = stats.ttest_rel(level, reference)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)


@given(pairs(min_size=2))
def test_swapping_level_and_reference_mirrors_the_difference(values):
    level, reference = np.array(values).T
    one, other = paired_difference(level, reference), paired_difference(reference, level)
    assert (one.mean, one.sd) == (-other.mean, other.sd)
    mirrored = [other.p_value, -other.d_z, -other.ci_high, -other.ci_low]
    np.testing.assert_array_equal([one.p_value, one.d_z, one.ci_low, one.ci_high], mirrored)


def test_fewer_than_two_pairs_give_no_numbers():
    for values in ([], [0.5]):
        found = paired_difference(values, values)
        numbers = [found.mean, found.sd, found.ci_low, found.ci_high, found.p_value, found.d_z]
        assert found.n == len(values)
        assert np.isnan(numbers).all()


def test_differences_that_are_all_zero_have_p_one():
    found = paired_difference([0.9, 0.8, 0.7], [0.9, 0.8, 0.7])
    assert (found.mean, found.ci_low, found.ci_high, found.p_value, found.d_z) == (0, 0, 0, 1, 0)
    assert found.is_constant


def test_a_difference_within_rounding_error_counts_as_zero():
    assert 0.1 + 0.2 != 0.3  # what the two ways of writing one number differ by
    found = paired_difference([0.1 + 0.2, 0.1 + 0.2, 0.3], [0.3, 0.3, 0.3])
    assert (found.mean, found.p_value) == (0, 1)


def test_rounding_errors_of_single_precision_are_not_variation():
    level, reference = [0.9061728, 0.9604938], [0.925925898, 0.980246879]  # 16 of 810 less in both, logged as float32
    found = paired_difference(level, reference)
    assert found.is_constant
    assert (found.sd, math.isnan(found.p_value)) == (0, True)
    assert not paired_difference([0.9, 0.8, 0.7], [0.9, 0.8, 0.700001]).is_constant


def test_constant_differences_have_neither_interval_nor_p():
    found = paired_difference([0.97, 0.95], [0.96, 0.94])  # 0.97 - 0.96 != 0.95 - 0.94 in floating point
    assert found.is_constant
    assert found.mean == pytest.approx(0.01)
    assert found.sd == 0
    assert np.isnan([found.ci_low, found.ci_high, found.p_value, found.d_z]).all()


def test_enormous_values_do_not_warn():
    assert paired_difference([1e308, -1e308, 0.0], [-1e308, 1e308, 1.0]).n == 3
    assert mean_interval([1e308, -1e308]).n == 2
    assert mean_interval([1.7e308, 1.7e308]).n == 2


def test_tiny_differences_keep_their_standard_deviation():
    found = paired_difference([1e-200, 2e-200, 3e-200], [0.0, 0.0, 0.0])
    assert found.d_z == pytest.approx(2)


def test_paired_values_need_the_same_length():
    with pytest.raises(ValueError, match="paired values need the same length; found 2 and 1"):
        paired_difference([1.0, 2.0], [1.0])


def test_holm_by_hand_and_nan_is_not_counted():
    # sorted 0.01, 0.02, 0.04 times 3, 2, 1, and never falling
    assert holm([0.02, 0.01, math.nan, 0.04]).tolist() == pytest.approx([0.04, 0.03, math.nan, 0.04], nan_ok=True)
    assert holm([]).tolist() == []
    assert np.isnan(holm([math.nan])).all()


def test_equivalence_is_the_ninety_percent_interval_strictly_inside():
    difference = paired_difference([0.901, 0.899, 0.902, 0.900], [0.9, 0.9, 0.9, 0.9])
    expected = stats.t.interval(0.90, 3, loc=difference.mean, scale=difference.sd / 2)
    found = equivalence(difference, margin=0.01)
    assert (found.ci_low, found.ci_high) == pytest.approx(expected, rel=1e-9)
    assert found.holds
    assert not equivalence(difference, margin=found.ci_high).holds
    assert equivalence(difference, margin=found.ci_high * (1 + 1e-9)).holds


@given(pairs(min_size=3), st.floats(min_value=0.01, max_value=100))
def test_equivalence_agrees_with_two_one_sided_tests(values, margin):
    level, reference = np.array(values).T
    difference = paired_difference(level, reference)
    if difference.is_constant or difference.sd < 1e-6:
        return
    lower = stats.ttest_1samp(level - reference, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(level - reference, margin, alternative="less").pvalue
    p_value = max(lower, upper)
    if abs(p_value - 0.05) > 1e-6:
        assert equivalence(difference, margin).holds == (p_value < 0.05)


def test_equivalence_needs_an_interval():
    assert not equivalence(paired_difference([1.0], [1.0]), margin=1.0).holds


# Ten differences of accuracy by fold, 5-fold cross-validation twice. Expected numbers: sd^2 (1/J + 1/4) with the
# standard library's statistics.stdev, quantiles and tails of t by Simpson's rule on its density.
FOLDS = [0.01, 0.03, 0.01, 0.03, 0.0, 0.02, 0.02, 0.0, 0.04, 0.01]


@pytest.mark.parametrize(
    ("num", "mean", "p_value", "interval", "ninety"),
    [
        (3, 0.0166666667, 0.1993592351, (-0.0212791637, 0.0546124970), (-0.0090851856, 0.0424185189)),
        (5, 0.016, 0.1500724682, (-0.0089880059, 0.0409880059), (-0.0031866211, 0.0351866211)),
        (10, 0.017, 0.0601892317, (-0.0008998124, 0.0348998124), (0.0024950938, 0.0315049063)),
    ],
)
def test_differences_of_folds_are_corrected_for_shared_examples(num, mean, p_value, interval, ninety):
    found = paired_difference(FOLDS[:num], np.zeros(num), overlap=1 / 4)
    assert (found.mean, found.p_value) == pytest.approx((mean, p_value), rel=1e-7)
    assert (found.ci_low, found.ci_high) == pytest.approx(interval, abs=1e-9)
    tost = equivalence(found, margin=ninety[1] + 1e-6)
    assert (tost.ci_low, tost.ci_high) == pytest.approx(ninety, abs=1e-9)
    assert tost.holds
    assert not equivalence(found, margin=ninety[1] - 1e-6).holds


def test_the_correction_does_not_change_mean_sd_and_d_z():
    plain, corrected = (paired_difference(FOLDS, np.zeros(10), overlap=overlap) for overlap in (0.0, 1 / 4))
    assert (plain.mean, plain.sd, plain.d_z) == (corrected.mean, corrected.sd, corrected.d_z)
    assert plain.d_z == pytest.approx(1.2710342050)
    assert plain.p_value == pytest.approx(0.0030209577, rel=1e-7)
    assert (plain.overlap, corrected.overlap) == (0.0, 0.25)


def test_the_mean_of_folds_is_corrected_too():
    # 0.91, 0.93, 0.90, 0.94, 0.92: sd 0.0158113883, times sqrt(1/5 + 1/4) and t(0.975, 4) = 2.7764451052
    found = mean_interval([0.91, 0.93, 0.90, 0.94, 0.92], overlap=1 / 4)
    assert (found.ci_low, found.ci_high) == pytest.approx((0.8905513526, 0.9494486474), abs=1e-9)


def test_folds_without_variation_or_pairs_need_no_correction():
    assert paired_difference([0.9, 0.8], [0.9, 0.8], overlap=1).p_value == 1
    assert math.isnan(paired_difference([0.9, 0.8], [0.8, 0.7], overlap=1).ci_low)
    assert paired_difference([0.9], [0.8], overlap=1).overlap == 1


@pytest.mark.slow
def test_equally_good_learners_rarely_differ_significantly_over_folds():
    """Logistic regression uses either half of the equally good features, over ten folds."""
    rng = np.random.default_rng(7)
    weights = np.tile(rng.normal(size=10) / 3, 2)
    num_data_sets, num_examples, num_folds = 400, 200, 10
    num_found = dict.fromkeys((0.0, 1 / (num_folds - 1)), 0)
    for _ in range(num_data_sets):
        x = rng.normal(size=(num_examples, 20))
        y = (rng.random(num_examples) < 1 / (1 + np.exp(-x @ weights))).astype(int)
        scores = np.zeros((2, num_folds))
        for fold, test in enumerate(np.array_split(rng.permutation(num_examples), num_folds)):
            train = np.setdiff1d(np.arange(num_examples), test)
            for learner, columns in enumerate((slice(0, 10), slice(10, 20))):
                fitted = LogisticRegression().fit(x[train, columns], y[train])
                scores[learner, fold] = fitted.score(x[test, columns], y[test])
        for overlap in num_found:
            num_found[overlap] += paired_difference(*scores, overlap=overlap).p_value < 0.05
    naive, corrected = (number / num_data_sets for number in num_found.values())
    assert naive > 0.07  # twice the 5 % it claims, 0.099 over 1,000 data sets
    assert corrected < 0.05  # 0.028 there


def test_a_huge_value_does_not_make_other_pairs_equal():
    found = paired_difference([1.0, 1.01, 0.99, 1.0, 1e15], [1.9, 1.92, 1.88, 1.9, 1e15])
    assert not found.is_constant
    assert found.mean == pytest.approx(-0.9 * 4 / 5)
    assert subtract_pairs([1.0, 1e15], [1.9, 1e15 + 0.5]).tolist() == pytest.approx([-0.9, 0.0])
    assert not equivalence(found, margin=0.05).holds

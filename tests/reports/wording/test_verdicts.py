import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.study.study import Metric
from reports.statistics.paired import paired_difference
from reports.wording.verdicts import (
    EQUIVALENT,
    HARMS,
    IMPROVES,
    UNDECIDED,
    Comparison,
    describe_verdict,
    judge_difference,
)

ACCURACY = Metric(name="test/acc", goal="max")
LOSS = Metric(name="test/loss", goal="min")
MIRROR = {IMPROVES: HARMS, HARMS: IMPROVES, EQUIVALENT: EQUIVALENT, UNDECIDED: UNDECIDED}


def difference_of(*differences):
    return paired_difference(np.array(differences), np.zeros(len(differences)))


def words(differences, metric, *, p_adjusted=None, missing=None, left_out=0, num_contexts=1, context=""):
    difference = difference_of(*differences)
    comparison = Comparison(
        factor="activation",
        level="relu",
        reference="sigmoid",
        context=context,
        num_contexts=num_contexts,
        difference=difference,
        num_seeds_left_out=left_out,
        missing=missing or {},
    )
    verdict = judge_difference(difference, difference.p_value if p_adjusted is None else p_adjusted, metric)
    return describe_verdict(comparison, verdict, metric)


def test_the_goal_decides_between_improves_and_harms():
    difference = difference_of(0.010, 0.011, 0.012)
    assert judge_difference(difference, difference.p_value, ACCURACY).word == IMPROVES
    assert judge_difference(difference, difference.p_value, LOSS).word == HARMS


def test_the_adjusted_p_value_decides():
    difference = difference_of(0.010, 0.011, 0.012)
    assert difference.p_value < 0.05
    assert judge_difference(difference, 0.0500001, ACCURACY).word == UNDECIDED
    assert judge_difference(difference, 0.05, ACCURACY).word == UNDECIDED
    assert judge_difference(difference, 0.0499999, ACCURACY).word == IMPROVES


def test_without_a_margin_nothing_is_equivalent():
    nothing = difference_of(0.0, 0.0, 0.0)
    assert judge_difference(nothing, 1.0, ACCURACY).word == UNDECIDED
    assert judge_difference(nothing, 1.0, Metric(name="test/acc", margin=0.001)).word == EQUIVALENT


def test_a_small_but_certain_difference_still_improves_below_the_margin():
    difference = difference_of(0.0010, 0.0011, 0.0012)
    verdict = judge_difference(difference, difference.p_value, Metric(name="test/acc", margin=0.01))
    assert (verdict.word, verdict.below_margin, str(verdict)) == (IMPROVES, True, "improves, below the margin")


def test_a_wide_interval_is_undecided_even_when_its_mean_is_within_the_margin():
    verdict = judge_difference(difference_of(-0.5, 0.5, 0.0), 1.0, Metric(name="test/acc", margin=0.01))
    assert (verdict.word, verdict.below_margin) == (UNDECIDED, False)


@given(
    st.lists(st.floats(min_value=-1, max_value=1, allow_subnormal=False), min_size=0, max_size=8),
    st.sampled_from(["max", "min"]),
    st.none() | st.floats(min_value=1e-3, max_value=2),
)
def test_flipping_the_sign_mirrors_and_flipping_the_goal_restores_a_verdict(values, goal, margin):
    metric = Metric(name="m", goal=goal, margin=margin)
    other = Metric(name="m", goal="min" if goal == "max" else "max", margin=margin)
    one, flipped = difference_of(*values), difference_of(*(-value for value in values))
    verdict = judge_difference(one, one.p_value, metric)
    mirrored = judge_difference(flipped, flipped.p_value, metric)
    restored = judge_difference(flipped, flipped.p_value, other)
    assert (mirrored.word, mirrored.below_margin) == (MIRROR[verdict.word], verdict.below_margin)
    assert (restored.word, restored.below_margin) == (verdict.word, verdict.below_margin)


def test_sentences_contain_the_numbers():
    assert words([0.010, 0.012, 0.014], ACCURACY) == (
        "activation: relu improves test/acc compared with sigmoid: +0.0120 (95 % confidence interval +0.0070 to "
        "+0.0170, 3 seeds, Holm-adjusted p = 0.009)."
    )
    assert words([0.010, 0.012, 0.014], LOSS).startswith(
        "activation: relu harms test/loss compared with sigmoid: +0.0120 ("
    )
    assert words([0.001, -0.001, 0.0, 0.0], Metric(name="test/acc", margin=0.01)) == (
        "activation: relu is equivalent to sigmoid in test/acc within ±0.01: 0.00000 "
        "(90 % confidence interval -0.00096 to +0.00096, 4 seeds)."
    )
    assert words([0.1, -0.1, 0.2], ACCURACY) == (
        "activation: whether relu and sigmoid differ in test/acc is undecided: +0.07 (95 % confidence interval -0.31 "
        "to +0.45, 3 seeds, Holm-adjusted p = 0.529); with 3 seeds and the observed SD, a true difference of 0.50 is "
        "detected with 80 % power."
    )


def test_a_sentence_never_says_that_there_is_no_effect():
    for values in ([0.1, -0.1, 0.2], [0.0, 0.0], [0.0]):
        assert not re.search(r"no (effect|difference)|insignificant", words(values, ACCURACY))


def test_a_sentence_names_a_p_value_that_the_adjustment_made_insignificant():
    assert "; p = 0.009 before Holm's adjustment" in words([0.010, 0.012, 0.014], ACCURACY, p_adjusted=0.09)


def test_constant_differences_have_no_confidence_interval():
    assert "without variation, no confidence interval can be computed" in words([0.5, 0.5], ACCURACY)


def test_a_sentence_names_the_context_and_the_seeds_left_out():
    text = words([0.1, 0.2], ACCURACY, context="init=he", left_out=2, missing={"diverged": 1, "failed": 1})
    assert text.startswith("activation (init=he): ")
    assert text.endswith("; 2 seeds left out (1 diverged, 1 failed).")


@pytest.mark.parametrize(
    ("values", "num_contexts", "why"),
    [
        ([0.1], 1, "a confidence interval needs two complete seeds; there is one"),
        ([], 1, "a confidence interval needs two complete seeds; there are none"),
        ([], 0, "the design has no context with both levels"),
    ],
)
def test_a_sentence_says_why_there_is_no_interval(values, num_contexts, why):
    expected = f"activation: whether relu and sigmoid differ in test/acc is undecided: {why}."
    assert words(values, ACCURACY, p_adjusted=math.nan, num_contexts=num_contexts) == expected


@pytest.mark.parametrize(
    ("values", "margin", "overlap", "end"),
    [
        (
            [0.1, -0.1, 0.2],
            0.2,
            0,
            "and about 4 more seeds would probably give a verdict at the margin of 0.2.",
        ),
        ([0.01, -0.01, 0.02], 0.2, 0, None),
        (
            [0.3, 0.1, 0.28, 0.12, 0.21],
            0.2,
            0,
            (
                "0.15 is detected with 80 % power, which is enough for the margin of 0.2 unless the true difference "
                "lies between 0 and the margin."
            ),
        ),
        (
            [0.1, -0.1, 0.2],
            1e-6,
            0,
            "0.50 is detected with 80 % power, and no number of seeds gives a verdict at the margin of 1e-06.",
        ),
        (
            [0.1, -0.1, 0.2],
            0.25,
            1 / 2,
            (
                "0.79 is detected with 80 % power, and no number of repetitions gives a verdict at the margin of 0.25, "
                "because folds share training examples."
            ),
        ),
        (
            [0.1, -0.1, 0.2],
            0.45,
            1 / 2,
            (
                "0.79 is detected with 80 % power, and about 1 more repetition of the cross-validation would probably "
                "give a verdict at the margin of 0.45."
            ),
        ),
    ],
)
def test_an_undecided_sentence_gives_the_detectable_difference_and_more_seeds(values, margin, overlap, end):
    difference = paired_difference(np.array(values), np.zeros(len(values)), overlap=overlap)
    comparison = Comparison(
        factor="x",
        level="b",
        reference="a",
        context="",
        num_contexts=1,
        difference=difference,
        num_seeds_left_out=0,
        missing={},
        unit="fold" if overlap else "seed",
    )
    metric = Metric(name="test/acc", margin=margin)
    text = describe_verdict(comparison, judge_difference(difference, 0.5, metric), metric)
    assert text.endswith(end) if end else "80 % power" not in text


def test_the_estimated_number_of_seeds_gives_a_verdict_with_80_percent_power():
    difference = difference_of(0.1, -0.1, 0.2)
    sensitivity = judge_difference(difference, 0.5, Metric(name="m", margin=0.2)).sensitivity
    num_seeds = int(difference.n + sensitivity.num_more_pairs)
    draws = np.random.default_rng(0).normal(size=(20_000, num_seeds)) * difference.sd
    half = draws.std(axis=1, ddof=1) / math.sqrt(num_seeds)
    equal = np.abs(draws.mean(axis=1)) + stats.t.ppf(0.95, num_seeds - 1) * half < 0.2
    found = np.abs(draws.mean(axis=1) + 0.2) > stats.t.ppf(0.975, num_seeds - 1) * half
    assert min(np.mean(equal), np.mean(found)) == pytest.approx(0.8, abs=0.08)
    assert min(np.mean(equal), np.mean(found)) >= 0.79


def test_a_sentence_on_an_interaction_names_two_contexts():
    difference = difference_of(0.010, 0.012, 0.014)
    comparison = Comparison(
        factor="activation × init",
        level="relu",
        reference="sigmoid",
        context="",
        num_contexts=1,
        difference=difference,
        num_seeds_left_out=0,
        missing={},
        under=("init=he", "init=xavier"),
    )
    text = describe_verdict(comparison, judge_difference(difference, 0.01, ACCURACY), ACCURACY)
    assert text.startswith(
        "activation × init: replacing sigmoid by relu helps test/acc more under init=he than under init=xavier: +0.01"
    )
    small = Metric(name="test/acc", margin=0.1)
    assert "on test/acc is equivalent under init=he and init=xavier within ±0.1: " in describe_verdict(
        comparison, judge_difference(difference, 0.5, small), small
    )
    assert (
        "whether replacing sigmoid by relu affects test/acc differently under init=he and init=xavier is undecided: "
        in (describe_verdict(comparison, judge_difference(difference, 0.5, ACCURACY), ACCURACY))
    )

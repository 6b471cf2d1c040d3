import math

import numpy as np
import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor

from experiments.errors import InputError, LedgerError
from experiments.trials.trial import TrialStatus
from reports import describe_power

MARGIN = {"name": "test/acc", "margin": 0.02}
WOBBLE = [0.00, 0.02, -0.01, 0.01, -0.02]


def measure(levels, seed):
    return make_result(0.9 + seed / 100 + (WOBBLE[seed] if levels.get("x") == "b" else 0.0))


def test_without_a_pilot_the_planned_seeds_are_told_in_standard_deviations():
    assert describe_power(one_factor()) == [
        (
            "5 seeds find a true difference of 1.68 SD (standard deviations of the difference by seed) four times in "
            "five (5 %); --pilot DIR, a finished run of this or a similar study, tells it in the metric's unit"
        )
    ]
    (line,) = describe_power(make_study(design="one_at_a_time"))
    assert "(5 %, Holm over 3 main effects)" in line
    assert describe_power(one_factor(seeds=1)) == []


def test_folds_find_less_than_as_many_seeds():
    (line,) = describe_power(one_factor(folds=5))
    assert f"5 folds find a true difference of {1.682 * math.sqrt(0.45 * 5):.2f} SD" in line
    assert "of the difference by fold" in line


def test_a_pilot_tells_it_in_the_unit_of_the_metric_and_the_seeds_that_the_margin_needs(tmp_path):
    make_ledger(tmp_path, one_factor(), measure)
    sd = np.std(WOBBLE, ddof=1)
    lines = describe_power(one_factor(seeds=10, metric=MARGIN), tmp_path)
    assert lines[1] == f"the pilot {tmp_path} is activations (x; 5 seeds)"
    assert lines[2:] == [
        f"pilot {tmp_path}: the SD of paired differences is {sd:.3f}; of 5 seeds, it may be 0.6 to 2.9 times that",
        "at that SD, 10 seeds find a true difference of 0.016 in test/acc four times in five",
        (
            "at that SD, for the margin of 0.02: 8 seeds to find a difference as large, 7 seeds to show that a "
            "difference of 0 is inside it"
        ),
    ]
    assert describe_power(one_factor(), tmp_path)[-1].startswith("no margin, so there is nothing to say")
    assert (
        "no number of folds is enough to find a difference as large"
        in describe_power(one_factor(folds=2, metric=MARGIN), tmp_path)[-1]
    )


def test_a_pilot_of_several_contrasts_is_pooled(tmp_path):
    make_ledger(
        tmp_path,
        one_factor(["a", "b", "c"]),
        lambda levels, seed: make_result(0.9 + WOBBLE[seed] * "abc".index(levels["x"])),
    )
    sd = np.std(WOBBLE, ddof=1)
    assert (
        f"is {math.sqrt(2.5) * sd:.3f} ({sd:.3f} to {2 * sd:.3f} over 2 contrasts); "
        in describe_power(one_factor(), tmp_path)[2]
    )


def test_a_pilot_of_another_kind_says_so(tmp_path):
    make_ledger(tmp_path, one_factor(), measure)
    lines = describe_power(one_factor(["p", "q"], folds=5, base={"data": {"class_path": "x.Other"}}), tmp_path)
    assert lines[1] == (
        f"the pilot {tmp_path} is activations (x; 5 seeds). Careful: it has other data, another model, seeds instead "
        "of folds, so its spread may be another"
    )


def test_a_pilot_that_cannot_help_says_why(tmp_path):
    with pytest.raises(LedgerError, match="there is no ledger"):
        describe_power(one_factor(), tmp_path)
    make_ledger(tmp_path, one_factor(), measure)
    with pytest.raises(InputError) as caught:
        describe_power(one_factor(metric={"name": "test/ac", "goal": "max"}), tmp_path)
    assert str(caught.value) == (
        f"--pilot {tmp_path}: no trial logged 'test/ac'; did you mean 'test/acc'? logged: test/acc"
    )
    make_ledger(
        tmp_path / "failed",
        one_factor(),
        lambda levels, seed: measure(levels, seed) if seed == 0 else make_result(status=TrialStatus.FAILED),
    )
    with pytest.raises(
        InputError, match="no contrast has two complete seeds that differ in test/acc, so there is no spr"
    ):
        describe_power(one_factor(), tmp_path / "failed")

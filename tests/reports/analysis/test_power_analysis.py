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


def test_without_a_pilot_the_detectable_difference_is_in_standard_deviations():
    assert describe_power(one_factor()) == [
        (
            "with 5 seeds, a true difference of 1.68 SD (standard deviations of the paired differences) is detected "
            "with 80 % power (two-sided t test at 5 %); with --pilot DIR, a finished run of this or a similar study, "
            "also in the metric's unit"
        )
    ]
    (line,) = describe_power(make_study(design="one_at_a_time"))
    assert "(two-sided t test at 5 %, Holm over 3 main effects)" in line
    assert describe_power(one_factor(seeds=1)) == []


def test_folds_detect_less_than_as_many_seeds():
    (line,) = describe_power(one_factor(folds=5))
    assert f"with 5 folds, a true difference of {1.682 * math.sqrt(0.45 * 5):.2f} SD" in line


def test_with_a_pilot_it_is_in_the_metrics_unit_with_seeds_for_the_margin(tmp_path):
    make_ledger(tmp_path, one_factor(), measure)
    sd = np.std(WOBBLE, ddof=1)
    lines = describe_power(one_factor(seeds=10, metric=MARGIN), tmp_path)
    assert lines[1] == f"the pilot {tmp_path} is activations (x; 5 seeds)"
    assert lines[2:] == [
        (
            f"pilot {tmp_path}: the SD of paired differences is {sd:.3f}; with 5 seeds, the 95 % confidence interval "
            "of an SD is 0.6 to 2.9 times its estimate"
        ),
        "at that SD, with 10 seeds, a true difference of 0.016 in test/acc is detected with 80 % power",
        (
            "at that SD, for the margin of 0.02 and 80 % power: 8 seeds to detect a difference as large as the margin, "
            "7 seeds to show equivalence at a true difference of 0"
        ),
    ]
    assert describe_power(one_factor(), tmp_path)[-1].startswith("the study has no margin to plan")
    assert (
        "no number of folds is enough to detect a difference as large"
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
        f"is {math.sqrt(2.5) * sd:.3f}, pooled over 2 contrasts ({sd:.3f} to {2 * sd:.3f}); "
        in describe_power(one_factor(), tmp_path)[2]
    )


def test_differences_of_the_pilot_are_described(tmp_path):
    make_ledger(tmp_path, one_factor(), measure)
    lines = describe_power(one_factor(["p", "q"], folds=5, base={"data": {"class_path": "x.Other"}}), tmp_path)
    assert lines[1] == (
        f"the pilot {tmp_path} is activations (x; 5 seeds). Careful: it has other data, another model, seeds instead "
        "of folds, so its SD may differ"
    )


def test_an_unusable_pilot_is_rejected_with_the_reason(tmp_path):
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
        InputError, match="no contrast has two complete seeds that differ in test/acc, so there is no standard"
    ):
        describe_power(one_factor(), tmp_path / "failed")

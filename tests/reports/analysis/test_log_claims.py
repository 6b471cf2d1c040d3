"""Claims on metrics over orders of magnitude, as differences of logarithms."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from make_ledger import make_ledger, make_result, one_factor
from mechanism_ledger import depth_study, epoch_of, measure
from rich.console import Console

from experiments.trials.trial import TrialStatus
from reports import build_report, claim_table, collect_outcomes, print_report, to_document, to_html, to_markdown
from reports.statistics.paired import paired_difference
from reports.wording.verdicts import format_ratio

RATIO = "mechanism/weight_gradient_ratio"
VANISH = {
    "factor": "activation",
    "better": "relu",
    "than": "sigmoid",
    "metric": {"name": RATIO, "goal": "max"},
    "scale": "log",
    "says": "With ReLU the gradient does not vanish.",
}


def report_of(directory, values, *, claim=None, seeds=5, **changes):
    """Build a report on levels a and b of one factor, given the final values of `ratio` by level and seed."""
    says = {
        "factor": "x",
        "better": "b",
        "than": "a",
        "says": "b is larger.",
        "metric": {"name": "ratio", "goal": "max"},
    }
    study = one_factor(claims={"c": says | {"scale": "log"} | (claim or {})}, seeds=seeds, **changes)

    def measured(levels, seed):
        value = values[levels["x"]][seed]
        if value is None:
            return make_result(status=TrialStatus.DIVERGED)
        return make_result(metrics={"test/acc": 0.5 + seed / 100, "ratio": value})

    return build_report(make_ledger(directory, study, measured))


def only(report):
    (row,) = report.claims.to_dict("records")
    return row


def test_the_difference_of_logarithms_is_written_as_a_factor(tmp_path):
    low, high = [1e-6, 1e-5, 3e-6, 1e-7, 1e-6], [2e-3, 5e-3, 1e-2, 1e-4, 5e-4]
    found = only(report_of(tmp_path, {"a": low, "b": high}))
    expected = paired_difference(np.log10(high), np.log10(low))
    assert (found["mean_difference"], found["p_value"]) == pytest.approx((expected.mean, expected.p_value))
    assert found["ratio"] == pytest.approx(math.prod(np.array(high) / low) ** (1 / 5))
    assert (found["ratio_low"], found["ratio_high"]) == pytest.approx((10**expected.ci_low, 10**expected.ci_high))
    assert (found["scale"], found["finding"]) == ("log", "supported")
    assert found["sentence"].startswith("x: b improves ratio compared with a: ×1,")
    assert "(95 % confidence interval ×3" in found["sentence"]


def test_logarithms_keep_the_largest_value_from_dominating(tmp_path):
    """In four of five seeds, b is 1000 a. In the fifth, a is slightly larger and dominates the linear difference."""
    values = {"a": [1e-6, 1e-6, 1e-6, 1e-6, 10.0], "b": [1e-3, 1e-3, 1e-3, 1e-3, 9.9]}
    found = only(report_of(tmp_path / "linear", values, claim={"scale": "linear"}))
    assert found["mean_difference"] < 0
    assert math.isnan(found["ratio"])
    assert only(report_of(tmp_path / "log", values))["ratio"] > 100


def test_a_margin_is_a_factor(tmp_path):
    values = {"a": [1.0, 2.0, 4.0, 8.0, 16.0], "b": [1.1, 2.1, 4.1, 8.9, 15.0]}
    claim = {"metric": {"name": "ratio", "goal": "max", "margin": 2}}
    found = only(report_of(tmp_path / "equal", values, claim=claim))
    assert found["finding"] == "practically equal"
    assert "b is equivalent to a in ratio within a factor of 2: ×1.0" in found["sentence"]
    assert "(90 % confidence interval ×0.9" in found["sentence"]
    values["b"] = [1.1, 2.21, 4.4, 8.8, 17.7]
    found = only(report_of(tmp_path / "small", values, claim=claim))
    assert "; the difference is below the margin of a factor of 2." in found["sentence"]


def test_an_undecided_claim_names_the_detectable_factor(tmp_path):
    values = {"a": [1.0, 1.0, 1.0, 1.0, 1.0], "b": [100.0, 0.01, 10.0, 0.5, 1.0]}
    found = only(report_of(tmp_path, values, claim={"metric": {"name": "ratio", "goal": "max", "margin": 10}}))
    assert found["finding"] == "undecided"
    assert "with 5 seeds and the observed SD, a true factor of ×" in found["sentence"]
    assert "would probably give a verdict at the margin of a factor of 10" in found["sentence"]


def test_values_without_a_logarithm_leave_a_claim_undecided(tmp_path):
    values = {"a": [0.0, 1e-6, 1e-6, -1.0, 1e-6], "b": [1e-3] * 5}
    report = report_of(tmp_path, values)
    found = only(report)
    assert (found["finding"], found["n"]) == ("undecided", 0)
    assert found["sentence"] == (
        "x: whether b and a differ in ratio is undecided: 2 of 10 values are 0 or below and have no logarithm."
    )
    assert (
        "Claim c: 2 of 10 values are 0 or below and have no logarithm, so it is undecided. scale: linear compares the "
        "values instead." in report.notes
    )


def test_values_of_other_levels_do_not_matter(tmp_path):
    study_levels = {"a": [1e-6, 2e-6, 1e-6], "b": [1e-3, 1e-3, 3e-3], "c": [0.0, 0.0, -1.0]}
    says = {
        "factor": "x",
        "better": "b",
        "than": "a",
        "says": "b.",
        "metric": {"name": "ratio", "goal": "max"},
        "scale": "log",
    }
    study = one_factor("abc", claims={"c": says}, seeds=3)
    ledger = make_ledger(
        tmp_path,
        study,
        lambda levels, seed: make_result(metrics={"test/acc": 0.5, "ratio": study_levels[levels["x"]][seed]}),
    )
    report = build_report(ledger)
    assert only(report)["finding"] == "supported"
    assert not any(note.startswith("Claim") for note in report.notes)


def test_a_diverged_trial_leaves_its_seed_out(tmp_path):
    values = {"a": [None, 1e-6, 2e-6, 1e-6, 1e-6], "b": [1e-3, 1e-3, 3e-3, 1e-3, 2e-3]}
    found = only(report_of(tmp_path, values))
    assert (found["finding"], found["n"], found["num_seeds_left_out"]) == ("supported", 4, 1)


def test_the_same_factor_in_every_seed_has_no_interval(tmp_path):
    found = only(report_of(tmp_path, {"a": [1.0, 2.0, 4.0, 8.0, 16.0], "b": [10.0, 20.0, 40.0, 80.0, 160.0]}))
    assert "is undecided: the difference is ×10.0 in each of 5 seeds" in found["sentence"]


@pytest.mark.slow
def test_a_claim_on_a_mechanism_appears_in_all_formats(tmp_path):
    report = build_report(
        make_ledger(tmp_path, depth_study(depths=(4, 8), seeds=4, claims={"vanish": VANISH}), measure)
    )
    found = only(report)
    expected = [
        math.log10(epoch_of({"activation": name, "depth": depth}, seed, 2)[RATIO])
        for name in ("relu", "sigmoid")
        for depth in ("4", "8")
        for seed in range(4)
    ]
    assert found["mean_difference"] == pytest.approx(np.mean(expected[:8]) - np.mean(expected[8:]))
    assert found["finding"] == "supported"
    says = f"relu improves {RATIO} compared with sigmoid: ×"
    console = Console(file=io.StringIO(), width=200)
    print_report(report, console)
    assert says in " ".join(console.file.getvalue().split())
    assert says in to_markdown(report)
    assert says in to_html(report)
    (record,) = to_document(report)["tables"]["claims"]
    assert (record["scale"], record["ratio"]) == ("log", pytest.approx(10 ** found["mean_difference"]))


def test_a_claim_on_an_interaction_is_a_factor_of_factors(tmp_path):
    claim = VANISH | {"more_under": {"depth": 8}, "than_under": {"depth": 2}}
    report = build_report(make_ledger(tmp_path, depth_study(depths=(2, 8), claims={"deeper": claim}), measure))
    found = only(report)
    # (0.95 / 0.2) ** 8 over (0.95 / 0.2) ** 2, up to noise
    assert found["mean_difference"] == pytest.approx(6 * math.log10(0.95 / 0.2), abs=0.2)
    assert f"replacing sigmoid by relu helps {RATIO} more under depth=8 than under depth=2: ×" in found["sentence"]


def test_a_claim_on_a_metric_of_a_layer_works(tmp_path):
    claim = VANISH | {"metric": {"name": "mechanism/weight_gradient/stem", "goal": "max"}}
    report = build_report(make_ledger(tmp_path, depth_study(depths=(4, 8), claims={"first": claim}), measure))
    assert only(report)["finding"] == "supported"


def test_one_seed_is_undecided(tmp_path):
    found = only(report_of(tmp_path, {"a": [1.0], "b": [10.0]}, seeds=1))
    assert "a confidence interval needs two complete seeds; there is one" in found["sentence"]


def test_the_columns_exist_without_claims():
    study = one_factor()
    trials = pd.DataFrame({"x": [], "seed": [], "status": [], "test/acc": []})
    table = claim_table(study, collect_outcomes(study, trials), trials)
    assert (len(table), {"scale", "ratio", "ratio_low", "ratio_high"} <= set(table.columns)) == (0, True)


@pytest.mark.parametrize(
    ("powers", "texts"),
    [
        ((3.0, 2.0, 4.0), ("×1,000", "×100", "×10,000")),
        ((-7.0, -7.5, -6.5), ("×1.00e-7", "×3.16e-8", "×3.16e-7")),
        ((0.0001, -0.0001, 0.0003), ("×1.0002", "×0.99977", "×1.0007")),
        ((math.nan,) * 3, ("-",) * 3),
        ((0.30103, 0.30103, 0.30103), ("×2.00",) * 3),
    ],
)
def test_factors_are_written_so_that_none_crosses_one(powers, texts):
    assert format_ratio(*powers, margin=None) == texts

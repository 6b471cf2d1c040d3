import math

import numpy as np
import pandas as pd
import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor
from scipy import stats

from experiments.trials.trial import TrialStatus
from reports import build_report
from reports.analysis.learning_curves import CURVE_DIFFERENCE_COLUMNS, list_curve_metrics

ONE = {"x": "b"}


def curve(levels, seed):
    """Return a trial of three epochs, paired by seed, with a difference between the levels."""
    bonus = 0.1 if levels.get("x", levels.get("activation")) in {"b", "relu"} else 0.0
    wobble = math.sin(7 * seed + sum(map(ord, str(levels)))) / 100
    return tuple(
        {
            "val/acc": 0.5 + 0.2 * epoch + bonus * epoch + wobble * (epoch + 1) + seed / 50,
            "train/loss": 1 / (epoch + 1 + bonus),
        }
        for epoch in range(3)
    )


def measure(levels, seed):
    return make_result(curve(levels, seed)[-1]["val/acc"], epochs=curve(levels, seed))


def report_of(directory, study, measured=measure):
    return build_report(make_ledger(directory, study, measured))


def test_each_epoch_has_the_paired_t_interval(tmp_path):
    table = report_of(tmp_path, one_factor()).curve_differences
    assert tuple(table.columns) == CURVE_DIFFERENCE_COLUMNS
    acc = table[table["metric"] == "val/acc"]
    assert acc["epoch"].tolist() == [0, 1, 2]
    assert set(acc["n"]) == {5}
    for row in acc.to_dict("records"):
        differences = [
            curve(ONE, seed)[row["epoch"]]["val/acc"] - curve({"x": "a"}, seed)[row["epoch"]]["val/acc"]
            for seed in range(5)
        ]
        interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
        assert row["mean_difference"] == pytest.approx(np.mean(differences), rel=1e-9)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_main_effects_and_related_metrics_have_curve_differences(tmp_path):
    report = report_of(tmp_path, make_study())
    assert report.curve_differences["metric"].unique().tolist() == ["val/acc", "train/loss"]
    assert report.curve_differences.groupby(["factor", "level"], sort=False).ngroups == 3
    assert list_curve_metrics(report.study, report.curves) == [("val/acc", "max"), ("train/loss", "min")]


def test_failed_seeds_are_left_out_and_equal_values_have_no_width(tmp_path):
    def some(levels, seed):
        return make_result(status=TrialStatus.FAILED) if (levels, seed) == (ONE, 3) else measure(levels, seed)

    differences = report_of(tmp_path, one_factor(), some).curve_differences
    assert set(differences["n"]) == {4}
    constant = differences[(differences["metric"] == "train/loss") & (differences["epoch"] == 2)].iloc[0]
    assert constant["mean_difference"] < 0
    assert math.isnan(constant["ci_low"])


def test_folds_have_wider_intervals(tmp_path):
    widths = []
    for name, changes in (("seeds", {}), ("folds", {"folds": 5})):
        row = report_of(tmp_path / name, one_factor(**changes)).curve_differences.iloc[0]
        widths.append(row["ci_high"] - row["ci_low"])
    assert widths[1] / widths[0] == pytest.approx(math.sqrt((1 / 5 + 1 / 4) * 5), rel=1e-9)


def test_a_threshold_is_reached_or_censored(tmp_path):
    def some(levels, seed):
        return (
            make_result(status=TrialStatus.DIVERGED, epochs=({"val/acc": 0.5},))
            if (levels, seed) == (ONE, 0)
            else measure(levels, seed)
        )

    report = report_of(tmp_path, one_factor(), some)
    a, b = report.thresholds[report.thresholds["metric"] == "val/acc"].to_dict("records")
    first = [curve({"x": level}, seed)[0]["val/acc"] for level in "ab" for seed in range(5)]
    first[5] = 0.5
    best = np.mean([curve(ONE, seed)[2]["val/acc"] for seed in range(1, 5)])
    assert a["threshold"] == pytest.approx(np.mean(first) + 0.95 * (best - np.mean(first)), rel=1e-12)
    assert (a["x"], a["n"], a["reached"]) == ("a", 5, 0)
    assert math.isnan(a["median_epoch"])
    reached = sum(curve(ONE, seed)[2]["val/acc"] >= b["threshold"] for seed in range(1, 5))
    assert (b["x"], b["n"], b["reached"]) == ("b", 5, reached)
    assert b["median_epoch"] == 2 or reached < 3


def test_without_curves_both_tables_are_empty(tmp_path):
    report = report_of(tmp_path, one_factor(), lambda levels, seed: make_result(0.5 + seed))
    assert report.curve_differences.empty
    assert tuple(report.curve_differences.columns) == CURVE_DIFFERENCE_COLUMNS
    assert report.thresholds.empty
    assert list(report.thresholds.columns) == ["x", "metric", "threshold", "n", "reached", "median_epoch"]


def test_a_metric_that_does_not_improve_has_no_threshold(tmp_path):
    def worse(levels, seed):
        return make_result(0.1, epochs=({"val/acc": 0.9 + seed / 100}, {"val/acc": math.nan}, {"val/acc": 0.1}))

    report = report_of(tmp_path, one_factor(), worse)
    assert report.thresholds.empty
    assert report.curve_differences["epoch"].tolist() == [0, 2]
    assert isinstance(report.curve_differences, pd.DataFrame)


def test_all_epochs_of_a_contrast_use_the_same_seeds(tmp_path):
    def early(levels, seed):
        length = {("b", 1): 2, ("b", 2): 3}.get((levels["x"], seed), 4)
        gain = (0.1, 0.2, 0.6)[seed] if levels["x"] == "b" else 0.0
        epochs = tuple({"val/acc": 0.1 * epoch + gain} for epoch in range(length))
        return make_result(0.5 + gain, epochs=epochs)

    differences = report_of(tmp_path, one_factor(seeds=3), early).curve_differences
    assert differences["epoch"].tolist() == [0, 1]
    assert differences["n"].tolist() == [3, 3]
    assert differences["mean_difference"].tolist() == pytest.approx([0.3, 0.3])
    assert differences["ci_low"].tolist() == pytest.approx([0.3 - 0.65723, 0.3 - 0.65723], abs=1e-4)

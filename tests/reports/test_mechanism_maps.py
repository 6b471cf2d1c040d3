import re

import numpy as np
import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor
from mechanism_ledger import depth_study, epoch_of, inside_ledger, measure

from experiments.study.mechanisms import is_mechanism
from experiments.trials.trial import TrialStatus
from reports import build_report, figures_of, to_document, to_html, to_latex, to_markdown
from reports.mechanism_maps import compute_layer_maps, count_trials, list_scalar_metrics, select_cells

GRADIENT = "mechanism/weight_gradient/"


def maps_of(directory, study, measured):
    report = build_report(make_ledger(directory, study, measured))
    return {made.quantity.name: made for made in compute_layer_maps(report, select_cells(report.study))}


def by_layer(*rows, status="finished"):
    """Make a trial with these values of layers a, b, ... in each epoch."""
    epochs = tuple({f"{GRADIENT}{'ab'[place]}": value for place, value in enumerate(row)} for row in rows)
    if status == TrialStatus.DIVERGED:
        return make_result(status=status, epochs=epochs, diverged_epoch=len(epochs) - 1)
    return make_result(0.5, epochs=epochs)


def test_the_most_informative_quantities_come_first(tmp_path):
    report = build_report(inside_ledger(tmp_path))
    assert [made.quantity.name for made in compute_layer_maps(report, select_cells(report.study))] == [
        *("weight_gradient", "activation_gradient", "saturated", "dead", "activation_std", "activation_mean"),
        *("activation_drift", "update_ratio", "weight_norm"),
    ]


def test_a_value_is_the_mean_over_the_seeds_of_one_cell(tmp_path):
    study = depth_study()
    made = maps_of(tmp_path, study, measure)["weight_gradient"]
    assert made.layers == ("stem", "block2", "block3", "block4", "head")
    assert made.epochs.tolist() == [0, 1, 2]
    place = list(select_cells(study).cells.values()).index(("relu", "4"))
    told = [
        epoch_of({"activation": "relu", "depth": "4"}, seed, 1)["mechanism/weight_gradient/block3"] for seed in range(3)
    ]
    assert made.values[place, 2, 1] == pytest.approx(np.mean(told))


def test_a_network_without_a_layer_has_no_value_for_it(tmp_path):
    made = maps_of(tmp_path, depth_study(), measure)["weight_gradient"]
    places = list(select_cells(depth_study()).cells.values())
    shallow = made.values[places.index(("relu", "2"))]
    assert np.isnan(shallow).all(axis=1).tolist() == [False, False, True, True, False]


def test_every_value_averages_all_finished_trials_of_the_cell(tmp_path):
    """Seed 0 has a NaN, seed 1 stops early, seed 2 diverges and is ignored."""

    def measured(levels, seed):
        rows = {0: ([1.0, 2.0], [np.nan, 4.0], [5.0, 6.0]), 1: ([3.0, 4.0], [5.0, 6.0]), 2: ([1e9, 1e9],)}[seed]
        return by_layer(*rows, status=TrialStatus.DIVERGED if seed == 2 else "finished")

    made = maps_of(tmp_path, one_factor(seeds=3), measured)["weight_gradient"]
    assert made.epochs.tolist() == [0, 1]
    np.testing.assert_array_equal(made.values[0], [[2.0, np.nan], [3.0, 5.0]])


def test_unfinished_trials_are_counted_by_reason(tmp_path):
    results = {0: by_layer([1.0]), 1: by_layer([1.0], status=TrialStatus.DIVERGED), 2: None}
    report = build_report(make_ledger(tmp_path, one_factor(seeds=3), lambda _, seed: results[seed]))
    assert count_trials(report, ("a",)) == (1, 3, "1 diverged, 1 pending")


def test_an_unknown_quantity_is_drawn_last(tmp_path):
    def measured(levels, seed):
        return make_result(0.5, epochs=({"mechanism/own_thing/a": -1.0, "mechanism/weight_norm/a": 1.0},))

    made = maps_of(tmp_path, one_factor(seeds=2), measured)
    assert list(made) == ["weight_norm", "own_thing"]
    assert (made["own_thing"].quantity.title, made["own_thing"].quantity.kind) == ("Own thing", "signed")


def test_without_mechanisms_there_are_no_maps(tmp_path):
    report = build_report(make_ledger(tmp_path, make_study(), lambda *_: make_result(0.5)))
    assert compute_layer_maps(report, select_cells(report.study)) == []
    assert list_scalar_metrics(report) == []


def test_cells_of_two_crossed_factors_form_a_grid():
    chosen = select_cells(depth_study(depths=(2, 4, 8), exclude=[{"activation": "relu", "depth": 4}]))
    assert chosen.cells == {
        (0, 0): ("sigmoid", "2"),
        (0, 1): ("sigmoid", "4"),
        (0, 2): ("sigmoid", "8"),
        (1, 0): ("relu", "2"),
        (1, 2): ("relu", "8"),
    }
    assert chosen.note == ""


def test_the_longer_factor_is_in_columns_if_they_suffice():
    wide = select_cells(depth_study(depths=(1, 2, 3, 4, 5, 6)))
    assert max(wide.cells) == (1, 5)
    tall = select_cells(depth_study(depths=(1, 2, 3, 4, 5, 6, 7)))
    assert max(tall.cells) == (6, 1)


def test_of_many_cells_those_near_the_reference_are_shown():
    factors = {
        name: {"key": f"model.init_args.{name}", "levels": [f"{name}0", f"{name}1", f"{name}2"]} for name in "abc"
    }
    chosen = select_cells(make_study(factors=factors))
    assert chosen.note == (
        "Of 27 cells, those that differ from the reference in one factor are drawn; curves.csv contains all."
    )
    assert list(chosen.cells.values()) == [
        ("a0", "b0", "c0"),
        ("a0", "b0", "c1"),
        ("a0", "b0", "c2"),
        ("a0", "b1", "c0"),
        ("a0", "b2", "c0"),
        ("a1", "b0", "c0"),
        ("a2", "b0", "c0"),
    ]


def test_of_many_levels_the_first_are_shown_four_in_a_row():
    chosen = select_cells(one_factor([f"l{number}" for number in range(20)]))
    assert chosen.note == "Of 20 cells, the first 8 are drawn; curves.csv contains all."
    assert list(chosen.cells) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]


def test_the_ratio_of_gradients_and_the_gap_of_the_metric_come_first(tmp_path):
    def measured(levels, seed):
        names = (
            "gap/acc",
            "gap/f1",
            "gap/loss",
            "mechanism/activation_gradient_ratio",
            "mechanism/weight_gradient_ratio",
        )
        return make_result(0.5, epochs=(dict.fromkeys((*names, "mechanism/dead/a"), 0.5),))

    assert list_scalar_metrics(build_report(make_ledger(tmp_path, one_factor(), measured))) == [
        *("mechanism/weight_gradient_ratio", "gap/acc", "gap/loss", "mechanism/activation_gradient_ratio", "gap/f1")
    ]


def without(levels, seed):
    """Make the trial of `measure` without mechanisms."""
    told = measure(levels, seed)
    kept = [
        {name: value for name, value in row.items() if not is_mechanism(name)} for row in (*told.epochs, told.metrics)
    ]
    return make_result(epochs=tuple(kept[:-1]), metrics=kept[-1])


def both(tmp_path, **changes):
    """Make the same study without and with 90 metrics of mechanisms."""
    study = depth_study(**changes)
    return [build_report(make_ledger(tmp_path / made.__name__, study, made)) for made in (without, measure)]


@pytest.mark.slow
def test_other_parts_of_a_report_do_not_change_with_mechanisms(tmp_path):
    plain, full = both(tmp_path)
    assert len(full.trials.columns) > len(plain.trials.columns) + 50
    for write in (to_markdown, to_latex):
        assert write(full) == write(plain)
    kept = [picture.name for picture in figures_of(full) if not picture.name.startswith(("mechanism", "scalar"))]
    assert kept == [picture.name for picture in figures_of(plain)]
    one, other = to_document(plain), to_document(full)
    assert other["tables"] == one["tables"]
    assert (one["elsewhere"], other["elsewhere"]) == (
        {"curves": "curves.csv"},
        {"curves": "curves.csv", "mechanisms": "trials.csv"},
    )


@pytest.mark.slow
def test_the_table_of_trials_counts_metrics_of_mechanisms(tmp_path):
    plain, full = both(tmp_path)
    one, other = (to_html(report).partition('aria-labelledby="trials"')[2] for report in (plain, full))
    headers = [re.findall(r"<th [^>]*>([^<]*)</th>", text.partition("</thead>")[0]) for text in (one, other)]
    assert headers[0] == headers[1]
    more = sum(map(is_mechanism, full.trials.columns))
    assert f"trials.csv has {more} more metrics, every trial and every digit." in other


def test_metrics_of_claims_stay_in_the_table_of_trials(tmp_path):
    claim = {"factor": "activation", "better": "relu", "than": "sigmoid", "says": "ReLU's gradients do not vanish."}
    claims = {"vanish": claim | {"metric": {"name": "mechanism/weight_gradient_ratio", "goal": "max"}}}
    report = build_report(make_ledger(tmp_path, depth_study(claims=claims), measure))
    rows = to_document(report)["tables"]["trials"]
    assert [name for name in rows[0] if is_mechanism(name)] == ["mechanism/weight_gradient_ratio"]


MISSING = (
    "which the study measures, are missing in 30 of 30 finished trials. A warning in the study's folder logs, or on"
)


@pytest.mark.parametrize(
    ("measure", "metrics", "notes"),
    [
        (["dead", "gap"], {"mechanism/dead/act": 0.5, "gap/loss": 0.1}, []),
        (["dead"], {"mechanism/dead/act": 0.5}, []),
        (
            ["dead", "gap"],
            {},
            [
                f"Values of mechanisms, {MISSING} the terminal, gives the reason.",
                (
                    f"Values of the generalisation gap, {MISSING} the terminal, gives the reason, unless there is no "
                    "validation."
                ),
            ],
        ),
    ],
)
def test_trials_without_the_measured_mechanisms_are_counted(measure, metrics, notes, tmp_path):
    def measured(levels, seed):
        return make_result(metrics={"test/acc": 0.9 + seed / 100, **metrics})

    report = build_report(make_ledger(tmp_path / "s", make_study(mechanisms=measure), measured))
    assert [note for note in report.notes if note.startswith("Values of")] == notes

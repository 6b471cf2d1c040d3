import math
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from make_ledger import make_ledger, make_result, make_study, make_trials, one_factor

from experiments.errors import LedgerError
from experiments.ledger.ledger import Ledger
from experiments.trials.trial import TrialStatus
from reports import load_curves, load_plan, load_trials


def measure(levels, seed):
    """Return a trial: relu with he diverges in seed 0, fails in 1 and is pending in 2; all others finish."""
    states = {0: make_result(status=TrialStatus.DIVERGED), 1: make_result(status=TrialStatus.FAILED), 2: None}
    if levels == {"activation": "relu", "init": "he"} and seed in states:
        return states[seed]
    epochs = ({"train/loss": 1.0 + seed}, {"train/loss": 0.5 + seed, "val/acc": 0.25})
    return make_result(0.5 + seed / 10, epochs=epochs)


@pytest.fixture
def folder(tmp_path):
    return make_ledger(tmp_path, make_study(), measure)


def test_every_planned_trial_is_a_row_in_the_order_of_the_file(folder):
    trials = load_trials(folder)
    assert list(trials.columns) == [
        *("trial_id", "activation", "init", "seed", "status", "backend", "test/acc", "seconds"),
        *("num_parameters", "diverged_epoch", "attempts"),
    ]
    assert len(trials) == 30
    assert trials["activation"].unique().tolist() == ["sigmoid", "tanh", "relu"]
    assert trials["seed"].tolist() == [0, 1, 2, 3, 4] * 6
    assert trials["trial_id"].is_unique


def test_factors_sort_in_the_order_of_the_file(folder):
    activation = load_trials(folder)["activation"]
    assert activation.cat.ordered
    assert activation.sort_values().unique().tolist() == ["sigmoid", "tanh", "relu"]


def test_trials_without_a_result_have_no_numbers(folder):
    rows = load_trials(folder).query("activation == 'relu' and init == 'he'").set_index("seed")
    assert rows["status"].tolist() == ["diverged", "failed", "pending", "finished", "finished"]
    assert rows["test/acc"].isna().tolist() == [True, True, True, False, False]
    assert rows.loc[0, "diverged_epoch"] == 1
    assert rows["attempts"].tolist() == [1, 1, 0, 1, 1]
    assert math.isnan(rows.loc[2, "seconds"])
    assert pd.isna(rows.loc[2, "backend"])


def test_curves_have_one_row_per_epoch(folder):
    curves = load_curves(folder)
    assert list(curves.columns) == ["trial_id", "activation", "init", "seed", "epoch", "train/loss", "val/acc"]
    one = curves.query("activation == 'tanh' and init == 'xavier' and seed == 3")
    assert one["epoch"].tolist() == [0, 1]
    assert one["train/loss"].tolist() == [4.0, 3.5]
    assert one["val/acc"].isna().tolist() == [True, False]
    assert set(one["trial_id"]) == set(
        load_trials(folder).query("activation == 'tanh' and init == 'xavier' and seed == 3")["trial_id"]
    )
    diverged = curves.query("activation == 'relu' and init == 'he' and seed == 0")
    assert diverged["train/loss"].isna().tolist() == [False, True]
    assert len(curves) == 28 * 2


def test_a_ledger_without_results_gives_frames_without_metrics(tmp_path):
    make_ledger(tmp_path, one_factor(), lambda *_: None)
    assert len(load_trials(tmp_path)) == 10
    assert load_curves(tmp_path).columns.tolist() == ["trial_id", "x", "seed", "epoch"]
    assert load_curves(tmp_path).empty


def test_only_the_present_plan_is_loaded(tmp_path):
    make_ledger(tmp_path, one_factor(["a", "b", "c"]), lambda *_: make_result(0.5))
    make_ledger(tmp_path, one_factor(["a", "c"]), lambda *_: make_result(0.5))
    trials = load_trials(tmp_path)
    assert trials["x"].cat.categories.tolist() == ["a", "c"]
    assert len(trials) == 10
    assert load_plan(tmp_path).factor("x").level_names == ("a", "c")


def test_a_metric_with_the_name_of_a_column_is_renamed(tmp_path):
    study = one_factor()
    metrics = {"test/acc": 0.5, "seed": 7.0, "x": 8.0, "attempts": 9.0}
    make_ledger(tmp_path, study, lambda *_: make_result(None, metrics=metrics, epochs=({"epoch": 3.0},)))
    trials = load_trials(tmp_path)
    assert trials["seed"].tolist() == [0, 1, 2, 3, 4] * 2
    assert trials.loc[0, ["seed (metric)", "x (metric)", "attempts (metric)", "attempts"]].tolist() == [
        7.0,
        8.0,
        9.0,
        1,
    ]
    assert load_curves(tmp_path).loc[0, ["epoch", "epoch (metric)"]].tolist() == [0, 3.0]


def test_a_folder_without_a_ledger_is_an_error(tmp_path):
    for load in (load_trials, load_curves, load_plan):
        with pytest.raises(LedgerError) as caught:
            load(tmp_path)
        assert str(caught.value) == f"{tmp_path / 'ledger.sqlite'}: there is no ledger; `ablate run` makes one"


def test_ten_thousand_trials_load_in_seconds(tmp_path):
    study = one_factor([f"level{number}" for number in range(100)], seeds=100)
    epochs = tuple({"train/loss": 1.0 / (epoch + 1), "val/acc": epoch / 5} for epoch in range(5))
    fill(tmp_path, study, make_result(0.5, epochs=epochs))
    started = time.process_time()
    curves = load_curves(tmp_path)
    assert time.process_time() - started < 10  # measured 0.4 s; a loop of pandas over rows takes minutes
    assert curves.shape == (50_000, 6)
    np.testing.assert_array_equal(curves["val/acc"].to_numpy().reshape(-1, 5), np.tile(np.arange(5) / 5, (10_000, 1)))


def fill(directory, study, result):
    """Record the same result for every trial in one transaction, because `record` syncs each to disk."""
    with Ledger(directory / "ledger.sqlite", writable=True) as ledger:
        ledger.plan(study.name, study.to_dict(), make_trials(study))
        database = ledger._db
        database.execute("BEGIN")
        database.execute("UPDATE trials SET status = 'finished', seconds = 1.0, backend = 'lightning'")
        for name, value in result.metrics.items():
            database.execute("INSERT INTO metrics SELECT id, ?, ? FROM trials", (name, value))
        for epoch, metrics in enumerate(result.epochs):
            for name, value in metrics.items():
                database.execute("INSERT INTO epochs SELECT id, ?, ?, ? FROM trials", (epoch, name, value))
        database.execute("COMMIT")


def test_importing_reports_imports_neither_torch_nor_scipy():
    code = (
        "import sys, reports; heavy = {'torch', 'lightning', 'scipy.special', 'scipy.stats', 'matplotlib', 'wandb'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

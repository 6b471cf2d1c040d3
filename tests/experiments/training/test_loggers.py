"""Loggers of a study, read back: each trial has its own, whichever trials its process trained before."""

import os
from collections import Counter

import pandas as pd
import pytest
from wandb_files import read_run

from experiments import InputError, Ledger, RunOptions, parse_study, run

WANDB = "lightning.pytorch.loggers.WandbLogger"
CSV = "lightning.pytorch.loggers.CSVLogger"
BOARD = "lightning.pytorch.loggers.TensorBoardLogger"


def wandb_logger(folder):
    folder.mkdir(exist_ok=True)
    return {"class_path": WANDB, "init_args": {"offline": True, "save_dir": str(folder), "project": "own"}}


def csv_logger(folder):
    return {"class_path": CSV, "init_args": {"save_dir": str(folder)}}


def make_study(logger, levels=(4, 6), key="model.init_args.width", **model):
    return parse_study(
        {
            "name": "logged",
            "question": "Does the width matter?",
            "base": {
                "model": {"class_path": "user_module.UserModule"} | model,
                "data": {"class_path": "user_module.UserData"},
                "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1, "logger": logger},
            },
            "factors": {"level": {"key": key, "levels": list(levels), "reference": levels[0]}},
            "seeds": 2,
            "metric": {"name": "test/loss", "goal": "min"},
        }
    )


def curves_of_ledger(directory, name="val/loss"):
    """Count the learning curves of a metric; each one is of one trial."""
    curves = {}
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        for row in ledger.trials():
            curves[row["trial_id"]] = []
        for trial, _, metric, value in ledger.epochs():
            if metric == name:
                curves[trial].append(round(value, 5))
    return Counter(map(tuple, curves.values()))


def curves_of_runs(folder, name="val/loss"):
    runs = [read_run(path) for path in sorted(folder.glob("wandb/offline-run-*"))]
    assert len({run.run_id for run in runs}) == len(runs)
    return Counter(tuple(round(row[name], 5) for row in run.rows if name in row) for run in runs), runs


def curves_of_tables(paths, name="val/loss"):
    return Counter(tuple(round(value, 5) for value in pd.read_csv(path)[name].dropna()) for path in paths)


@pytest.mark.slow
@pytest.mark.parametrize("fuse", ["auto", "never"])
def test_successive_trials_in_a_worker_have_separate_runs(tmp_path, fuse):
    study = make_study(wandb_logger(tmp_path / "w"))
    outcome = run(study, tmp_path / "out", RunOptions(num_slots=1, fuse=fuse))
    assert outcome.counts["finished"] == 4
    recorded = curves_of_ledger(tmp_path / "out")
    assert len(recorded) == 4
    assert all(len(curve) == 2 for curve in recorded)
    curves, runs = curves_of_runs(tmp_path / "w")
    assert curves == recorded
    assert [run.exit_code for run in runs] == [0] * 4
    assert Counter(run.config["width"] for run in runs) == {4: 2, 6: 2}


@pytest.mark.slow
def test_the_run_of_a_failed_trial_ends_as_failed(tmp_path):
    study = make_study(wandb_logger(tmp_path / "w"), levels=("raises", ""), key="model.init_args.fails")
    outcome = run(study, tmp_path / "out", RunOptions(num_slots=1, fuse="never"))
    assert (outcome.counts["finished"], outcome.counts["failed"]) == (2, 2)
    _, runs = curves_of_runs(tmp_path / "w")
    assert sorted((run.config["fails"], run.exit_code) for run in runs) == [
        ("", 0),
        ("", 0),
        ("raises", 1),
        ("raises", 1),
    ]
    whole = Counter(len([row for row in run.rows if "val/loss" in row]) for run in runs if not run.config["fails"])
    assert whole == {2: 2}


@pytest.mark.slow
def test_each_trial_has_all_loggers_of_a_list(tmp_path):
    loggers = [csv_logger(tmp_path / "c"), wandb_logger(tmp_path / "w")]
    run(make_study(loggers), tmp_path / "out", RunOptions(num_slots=2))
    recorded = curves_of_ledger(tmp_path / "out")
    assert len(recorded) == 4
    assert curves_of_runs(tmp_path / "w")[0] == recorded
    assert curves_of_tables((tmp_path / "c").rglob("metrics.csv")) == recorded


def test_a_logger_folder_is_named_after_the_trial(tmp_path):
    run(make_study(csv_logger(tmp_path / "c")), tmp_path / "out", RunOptions(num_slots=2))
    with Ledger(tmp_path / "out" / "ledger.sqlite", writable=False) as ledger:
        trials = sorted(row["trial_id"] for row in ledger.trials())
        configs = [ledger.trial(trial)["config"]["trainer"]["logger"] for trial in trials]
    assert sorted(path.name for path in (tmp_path / "c" / "lightning_logs").iterdir()) == trials
    assert curves_of_tables((tmp_path / "c").rglob("metrics.csv")) == curves_of_ledger(tmp_path / "out")
    assert [config["init_args"]["version"] for config in configs] == [None] * 4  # unchanged


def test_a_version_in_the_study_is_kept(tmp_path):
    logger = csv_logger(tmp_path / "c")
    logger["init_args"]["version"] = "mine"
    run(make_study(logger), tmp_path / "out", RunOptions(num_slots=1))
    assert [path.name for path in (tmp_path / "c" / "lightning_logs").iterdir()] == ["mine"]


@pytest.mark.slow
def test_a_module_that_opens_a_run_has_one_for_each_trial(tmp_path):
    (tmp_path / "w").mkdir()
    model = {"class_path": "logging_module.OpensItsRun", "init_args": {"folder": str(tmp_path / "w")}}
    run(make_study(None, **model), tmp_path / "out", RunOptions(num_slots=1, fuse="never"))
    curves, runs = curves_of_runs(tmp_path / "w")
    assert curves == curves_of_ledger(tmp_path / "out")
    assert [run.exit_code for run in runs] == [0] * 4


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_was_open_before_stays_open(tmp_path):
    import wandb

    before = os.environ.get("WANDB_MODE")
    mine = wandb.init(mode="offline", dir=str(tmp_path), settings=wandb.Settings(console="off"))
    try:
        run(make_study(wandb_logger(tmp_path / "w")), tmp_path / "out", RunOptions(runner="inline"))
        assert wandb.run is mine
        assert not list(tmp_path.glob("w/wandb/*"))  # Lightning's logger uses the open run, and warns
        mine.log({"still": "open"})
    finally:
        mine.finish()
        wandb.teardown()
        os.environ.pop("WANDB_SERVICE", None)
    assert os.environ.get("WANDB_MODE") == before


def test_trials_with_a_logger_are_not_fused(tmp_path):
    with pytest.raises(
        InputError, match=r"--fuse always: 4 of 4 trials cannot be fused\n.*trainer.logger is set, and a logger"
    ):
        run(make_study(csv_logger(tmp_path / "c")), tmp_path / "out", RunOptions(runner="inline", fuse="always"))

"""Runs that the sink writes offline during training, for all events of a trial."""

import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from make_ledger import make_ledger, make_result, make_study, make_trials, one_factor
from rich.console import Console
from wandb_files import read_run

from experiments import EpochEnded, InputError, Ledger, Trial
from experiments.trials.trial import TrialStatus
from reports.wandb import OFFLINE, Destination, WandbSink, check_installed, resolve_destination, verify
from reports.wandb.live.client import find_run_folders
from reports.wandb.live.receipt import read_receipt

DESTINATION = Destination(group="activations", mode=OFFLINE)
EPOCHS = ({"val/acc": 0.25}, {"val/acc": 0.5, "val/loss": float("nan")}, {"val/acc": 0.75})
STUDY = one_factor(seeds=2)


@pytest.fixture
def directory(tmp_path):
    """Make a study with planned trials only."""
    return make_ledger(tmp_path / "study", STUDY, lambda _, __: None)


def record(directory, trial, result):
    with Ledger(directory / "ledger.sqlite", writable=True) as ledger:
        ledger.start(trial.trial_id, "torch 0")
        ledger.record({trial.trial_id: result})


def send_epochs(sink, trial, epochs, first=0):
    for epoch, metrics in enumerate(epochs, start=first):
        sink.on_epoch_ended(trial, EpochEnded(trial_id=trial.trial_id, epoch=epoch, metrics=metrics))


def run_of_file(directory, trial):
    (folder,) = find_run_folders(directory, DESTINATION.run_id(trial.trial_id))
    return read_run(folder)


def test_runs_equal_the_ledger_whichever_epochs_were_logged_live(directory):
    live, late, restarted, changed = make_trials(STUDY)
    result = make_result(0.9, epochs=EPOCHS)
    with WandbSink(directory, DESTINATION, Console()) as sink:
        sink.wait_until_ready()
        sink.on_planned({}, [], 2)
        for trial in (live, late, restarted, changed):
            sink.on_started(trial)
        send_epochs(sink, live, EPOCHS)
        send_epochs(sink, late, EPOCHS[:1])
        send_epochs(sink, restarted, [{"val/acc": 0.1}, {"val/acc": 0.2}])  # in a fused group, which is split up
        sink.on_unfused(restarted, "it draws")
        sink.on_started(restarted)
        send_epochs(sink, restarted, EPOCHS)
        send_epochs(sink, changed, [{"val/acc": 0.3}])  # not the epochs in the ledger
        for trial in (live, late, restarted, changed):
            record(directory, trial, result)
            sink.on_ended(trial, result)
    assert sink.problem is None
    assert sorted(sink.written) == sorted(trial.trial_id for trial in (live, late, restarted, changed))
    assert [run.difference for run in verify(directory, DESTINATION)] == [None] * 4
    assert resolve_destination(directory, "activations") == DESTINATION


@pytest.mark.slow
def test_open_runs_are_finished_as_interrupted_and_written_anew_next_time(directory):
    trial = make_trials(STUDY)[0]
    with WandbSink(directory, DESTINATION, Console()) as sink:
        sink.on_started(trial)
        send_epochs(sink, trial, EPOCHS[:2])
    run = run_of_file(directory, trial)
    assert (run.exit_code, run.summary, len(run.rows)) == (1, {"trial/status": "interrupted"}, 2)
    result = make_result(0.9, epochs=EPOCHS)
    with WandbSink(directory, DESTINATION, Console()) as sink:
        sink.on_started(trial)
        record(directory, trial, result)
        sink.on_ended(trial, result)
    assert run_of_file(directory, trial).exit_code == 0
    assert [run.difference for run in verify(directory, DESTINATION)] == [None]


def test_runs_are_finished_when_the_command_is_killed(directory):
    code = """
import os, signal, sys, time
from pathlib import Path
from rich.console import Console
from wandb_files import read_run
from experiments import EpochEnded
from reports.wandb import Destination, WandbSink
from make_ledger import make_trials, one_factor
trial = make_trials(one_factor(seeds=2))[0]
destination = Destination(group="activations", mode="offline")
with WandbSink(Path(sys.argv[1]), destination, Console()) as sink:
    sink.on_started(trial)
    sink.on_epoch_ended(trial, EpochEnded(trial_id=trial.trial_id, epoch=0, metrics={"val/acc": 0.5}))
    sink.wait_until_ready()
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    support = str(Path(__file__).parents[3] / "support")
    environment = os.environ | {"PYTHONPATH": support}
    done = subprocess.run(
        [sys.executable, "-c", code, str(directory)], env=environment, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    trial = make_trials(STUDY)[0]
    until = time.monotonic() + 600
    while time.monotonic() < until:
        folders = find_run_folders(directory, DESTINATION.run_id(trial.trial_id))
        if folders and read_receipt(folders[0]).exit_code is not None:
            break
        time.sleep(0.1)
    run = run_of_file(directory, trial)
    assert (run.exit_code, len(run.rows)) == (1, 1)


@pytest.mark.slow
def test_a_killed_client_is_one_warning(directory, capsys):
    trial = make_trials(STUDY)[0]
    result = make_result(0.9, epochs=EPOCHS)
    with WandbSink(directory, DESTINATION, Console(width=400)) as sink:
        sink.wait_until_ready()
        sink.on_started(trial)
        os.kill(sink._child._process.pid, signal.SIGKILL)
        for _ in range(1000):
            send_epochs(sink, trial, EPOCHS)
        record(directory, trial, result)
        sink.on_ended(trial, result)
    assert capsys.readouterr().out.count("W&B:") == 1
    assert "its client ended early" in sink.problem
    assert sink.written == []


def test_an_unwritable_folder_is_one_warning_with_the_command_to_run_later(directory, capsys):
    (directory / "wandb").write_text("a file")
    with WandbSink(directory, DESTINATION, Console(width=400)) as sink:
        sink.wait_until_ready()
        for trial in make_trials(STUDY):
            sink.on_started(trial)
    out = capsys.readouterr().out
    assert out.count("W&B:") == 1
    assert f"the study continues without it, and `ablate wandb push {directory}` writes the runs afterwards" in out


@pytest.mark.slow
def test_two_commands_do_not_write_runs_of_one_folder_at_once(directory, monkeypatch):
    monkeypatch.setenv("ABLATE_WANDB_LOCK_SECONDS", "0.5")
    trial = make_trials(STUDY)[0]
    with WandbSink(directory, DESTINATION, Console()) as first:
        first.on_started(trial)
        until = time.monotonic() + 600
        while not find_run_folders(directory, DESTINATION.run_id(trial.trial_id)) and time.monotonic() < until:
            time.sleep(0.05)
        with WandbSink(directory, DESTINATION, None) as second:
            second.on_started(trial)
        assert "another command writes to" in second.problem


def test_a_client_that_cannot_start_is_an_error(directory, monkeypatch):
    (directory / "mirror").mkdir()
    (directory / "mirror" / "wandb.py").write_text("raise ImportError('no such wandb')")
    monkeypatch.syspath_prepend(directory / "mirror")
    sink = WandbSink(directory, DESTINATION, Console(width=400))
    with pytest.raises(InputError, match=r"wandb could not be started .*no such wandb"), sink:
        sink.wait_until_ready()
    assert sink.problem is None


@pytest.mark.slow
def test_variables_of_another_run_are_ignored(directory, monkeypatch):
    for name in ("WANDB_RUN_ID", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_SWEEP_ID"):
        monkeypatch.setenv(name, "theirs")
    monkeypatch.setenv("WANDB_RESUME", "must")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_DIR", str(directory / "elsewhere"))
    trial = make_trials(STUDY)[0]
    result = make_result(0.9, epochs=EPOCHS)
    with WandbSink(directory, DESTINATION, Console()) as sink:
        sink.on_started(trial)
        record(directory, trial, result)
        sink.on_ended(trial, result)
    assert sink.problem is None
    assert [run.difference for run in verify(directory, DESTINATION)] == [None]


def test_tracebacks_odd_names_and_odd_values_arrive_unchanged(tmp_path):
    levels = ["a", 'b "quoted" / \\ ünï\ncode', "c" * 300]
    study = make_study(seeds=1, factors={"lr.x y/z": {"key": "model.init_args.x", "levels": levels}})
    error = "Traceback (most recent call last):\n" + "  line\n" * 20_000 + "ValueError: ünï"
    results = [
        make_result(status=TrialStatus.FAILED, error=error),
        make_result(1e-320, epochs=({"a.b/c": float("inf"), "_own": 1.0, "x" * 300: -0.0, "epoch": 7.0},)),
        make_result(0.1 + 0.2, epochs=()),
    ]
    order = dict(zip(levels, results, strict=True))
    directory = make_ledger(tmp_path / "study", study, lambda names, _: order[names["lr.x y/z"]])
    with WandbSink(directory, DESTINATION, None) as sink:
        for trial in make_trials(study):
            sink.send_trial(trial.trial_id)
    assert sink.problem is None
    differences = [run.difference for run in verify(directory, DESTINATION)]
    assert differences == [None] * 3
    (row,) = run_of_file(directory, make_trials(study)[1]).rows
    assert (row["epoch"], row["epoch (metric)"], row["_own (metric)"]) == (0, 7, 1)
    run = run_of_file(directory, make_trials(study)[0])
    assert run.config["factors"] == {"lr_x y_z": "a"}
    assert run.summary["trial/error"] == error


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.28.0", 'wandb 0.28.0 is too old; version 0.28.1 or newer is needed: `pip install "wandb>=0.28.1"`'),
        (None, "Weights & Biases needs the package wandb, which is not installed; version 0.28.1 or newer is needed"),
    ],
)
def test_a_missing_or_old_wandb_is_an_error_with_the_required_version(monkeypatch, version, message):
    def installed(name):
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)
    with pytest.raises(InputError) as caught:
        check_installed()
    assert message in str(caught.value)


@pytest.mark.slow
def test_a_trial_that_is_sent_twice_is_one_run(directory):
    """A push during the study may send a trial again."""
    trial: Trial = make_trials(STUDY)[0]
    record(directory, trial, make_result(0.9, epochs=EPOCHS))
    for _ in range(2):
        with WandbSink(directory, DESTINATION, None) as sink:
            sink.send_trial(trial.trial_id)
            sink.send_trial(trial.trial_id)
    assert [run.difference for run in verify(directory, DESTINATION)] == [None]
    assert run_of_file(directory, trial).summary["trial/status"] == TrialStatus.FINISHED

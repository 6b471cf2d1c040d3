"""Continuation after kill -9 at any moment: each trial once, and the results of an uninterrupted run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soak
import yaml
from small_study import small_study
from waiting_module import waiting_study

from experiments import Ledger, RunOptions, load_study, run


@pytest.fixture
def study_path(tmp_path):
    study = small_study(seeds=8)
    study["base"]["trainer"]["max_epochs"] = 2
    path = tmp_path / "killed.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def start(study_path, directory, fuse):
    """Start the command in its own process group, so that only the command is killed."""
    arguments = [
        sys.executable,
        "-m",
        "ablate",
        "run",
        str(study_path),
        "--out",
        str(directory),
        "--fuse",
        fuse,
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "support")}
    return subprocess.Popen(
        arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def kill_after(study_path, directory, num_more, seconds, fuse="never"):
    """Start the command and kill it `seconds` after `num_more` further trials have ended; False when it ended first."""
    before = num_done(directory)
    command = start(study_path, directory, fuse)
    while command.poll() is None and num_done(directory) < before + num_more:
        time.sleep(0.02)
    time.sleep(seconds)
    alive = command.poll() is None
    os.kill(command.pid, signal.SIGKILL)
    command.communicate()
    return alive


def num_done(directory):
    if not (directory / "ledger.sqlite").exists():
        return 0
    try:
        with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
            return ledger.counts()["finished"]
    except Exception:  # noqa: BLE001 -- the file may be in the making
        return 0


def results(directory):
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        trials = [(row["trial_id"], row["status"]) for row in ledger.trials()]
        correct = dict(ledger.correct())
        assert correct.keys() == {trial_id for trial_id, status in trials if status == "finished"}
        return sorted(trials), sorted(ledger.metrics()), sorted(ledger.epochs()), correct


def assert_same_as_uninterrupted(study_path, tmp_path, fuse):
    command = start(study_path, tmp_path / "killed", fuse)
    _, err = command.communicate(timeout=600)
    assert command.returncode == 0, err
    run(load_study(study_path), tmp_path / "whole", RunOptions(fuse=fuse))
    trials, metrics, epochs, correct = results(tmp_path / "killed")
    assert len(trials) == 16
    assert {status for _, status in trials} == {"finished"}
    assert (trials, metrics, epochs, correct) == results(tmp_path / "whole")
    with Ledger(tmp_path / "killed" / "ledger.sqlite", writable=False) as ledger:
        histories = [ledger.trial(trial)["history"] for trial, _ in trials]
    assert all([attempt["status"] for attempt in history].count("finished") == 1 for history in histories)


@pytest.mark.slow
def test_a_command_killed_while_it_trains_continues_to_the_same_results(study_path, tmp_path):
    assert kill_after(study_path, tmp_path / "killed", num_more=3, seconds=0.13)
    with Ledger(tmp_path / "killed" / "ledger.sqlite", writable=False) as ledger:
        assert 3 <= ledger.counts()["finished"] < 16
    assert_same_as_uninterrupted(study_path, tmp_path, "never")


@pytest.mark.slow
def test_a_command_killed_while_it_trains_groups_continues_with_the_same_groups(tmp_path):
    study_path, directory = tmp_path / "killed.yaml", tmp_path / "killed"
    study_path.write_text(yaml.safe_dump(waiting_study(tmp_path, seeds=8, first_goes=True)))
    command = start(study_path, directory, "auto")
    while command.poll() is None and not (num_done(directory) and list(tmp_path.glob("waits-*"))):
        time.sleep(0.02)
    command.kill()
    _, err = command.communicate()
    assert command.returncode == -signal.SIGKILL, err
    assert num_done(directory) == 8  # a group ends as a whole; the other one is in training
    (tmp_path / "go").touch()
    assert_same_as_uninterrupted(study_path, tmp_path, "auto")


@pytest.mark.slow
def test_a_command_killed_repeatedly_at_random_continues_to_the_same_results(study_path, tmp_path):
    chance = random.Random(7)
    directory = tmp_path / "killed"
    assert kill_after(study_path, directory, num_more=0, seconds=2.0)  # while it imports: nothing is written yet
    assert not directory.exists()
    num_killed = sum(
        kill_after(study_path, directory, num_more=chance.choice([0, 1, 2]), seconds=chance.uniform(0, 0.6))
        for _ in range(8)
    )
    assert num_killed >= 6
    assert_same_as_uninterrupted(study_path, tmp_path, "never")


@pytest.mark.slow
def test_killing_any_process_of_the_command_loses_nothing(tmp_path):
    killed = soak.soak(15, tmp_path, seed=1)
    assert killed.total() == 15
    assert killed["a worker"] > 0

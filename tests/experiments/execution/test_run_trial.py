"""`run_trial` and `ablate trial`: one trial of a study, in a folder that other processes use at the same time."""

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest
import yaml
from trial_calls import ablate, hold, train_one

from ablate.commands import main
from experiments import (
    DirectoryError,
    InputError,
    Ledger,
    Result,
    RunOptions,
    Sink,
    TrialStatus,
    load_study,
    run,
    run_trial,
)
from experiments.ledger.study_folder import lock_folder

PROCESSES = multiprocessing.get_context("forkserver")  # which has imported torch; see conftest.py


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Run commands in a temporary folder, and restore what `main` changes in the process."""
    monkeypatch.chdir(tmp_path)
    path, handlers = list(sys.path), {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    yield
    sys.path[:] = path
    for name, handler in handlers.items():
        signal.signal(name, handler)


@pytest.fixture
def study_path(tmp_path):
    """Write a study of two widths and two seeds, and the file `go`, without which it does not train."""
    (tmp_path / "go").touch()
    return write_study(tmp_path)


def write_study(tmp_path, name="waiting", fails="", seeds=2):
    study = {
        "name": name,
        "question": "Does the width matter?",
        "base": {
            "model": {"class_path": "waiting_module.Waits", "init_args": {"folder": str(tmp_path), "fails": fails}},
            "data": {"class_path": "user_module.UserData"},
            "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        },
        "factors": {"width": {"key": "model.init_args.width", "levels": [4, 6], "reference": 4}},
        "seeds": seeds,
        "metric": {"name": "test/loss", "goal": "min"},
    }
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def ledger_of(directory):
    return Ledger(Path(directory) / "ledger.sqlite", writable=False)


def statuses(directory):
    with ledger_of(directory) as ledger:
        return {row["trial_id"]: row["status"] for row in ledger.trials()}


def results(directory):
    with ledger_of(directory) as ledger:
        return statuses(directory), sorted(ledger.metrics()), sorted(ledger.epochs())


def wait_until(is_so, seconds=600):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def num_begun(tmp_path):
    return len(list(tmp_path.glob("began-*")))


# ---- one call ------------------------------------------------------------------------------------------------------


def test_a_trial_is_trained_and_recorded_once(study_path):
    first = run_trial(study_path, "width=6,seed=1", "out")
    assert (first.was_trained, first.is_counted, first.row["status"]) == (True, True, "finished")
    again = run_trial(study_path, first.trial.trial_id[:9], "out")
    assert (again.was_trained, again.is_counted) == (False, False)
    assert again.row["metrics"] == first.row["metrics"]
    with ledger_of("out") as ledger:
        assert ledger.counts() == {"pending": 3, "running": 0, "finished": 1, "diverged": 0, "failed": 0}
        assert [attempt["status"] for attempt in ledger.trial(first.trial.trial_id)["history"]] == ["finished"]


def test_sinks_get_the_same_events_as_from_run(study_path):
    class Recorder(Sink):
        def __init__(self):
            self.events = []

        def on_data_notes(self, notes):
            self.events.append("notes")

        def on_planned(self, counts, groups, num_slots):
            self.events.append(("planned", counts["running"], len(groups), num_slots))

        def on_started(self, trial):
            self.events.append("started")

        def on_epoch_ended(self, trial, event):
            self.events.append(event.epoch)

        def on_ended(self, trial, result):
            self.events.append(result.status)

    recorder = Recorder()
    run_trial(study_path, "width=4,seed=0", "out", sinks=[recorder])
    assert recorder.events == ["notes", ("planned", 1, 1, 1), "started", 0, 1, "finished"]
    run_trial(study_path, "width=4,seed=0", "out", sinks=[recorder])
    assert recorder.events[6:] == ["notes"]


def test_the_command_prints_the_result_and_its_folder(study_path, capsys):
    assert main(["trial", str(study_path), "width=6,seed=1", "--out", "out"]) == 0
    (head, where) = capsys.readouterr().out.splitlines()
    (trial,) = [trial for trial, status in statuses("out").items() if status == "finished"]
    assert head.startswith(f"width=6, seed=1 ({trial}): test/loss = 0.")
    assert where == "recorded in out"
    assert main(["trial", str(study_path), f"trial={trial}", "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"width=6, seed=1 ({trial}): not trained, since out already has a result: test/loss")


def test_a_trial_that_failed_is_an_outcome_until_it_is_retried(tmp_path, study_path, capsys):
    failing = str(write_study(tmp_path, "failing", fails="raises"))
    assert main(["trial", failing, "width=6,seed=1", "--out", "out"]) == 1
    first = capsys.readouterr().out
    (trial,) = [trial for trial, status in statuses("out").items() if status == "failed"]
    assert f"width=6, seed=1 ({trial}): failed: ValueError: the user's own error" in first
    assert (
        f"`ablate show out {trial}` prints the traceback, `ablate retry out` makes failed trials pending again" in first
    )
    assert main(["trial", failing, "width=6,seed=1", "--out", "out"]) == 1
    assert "not trained, since out already has a result: failed: ValueError" in capsys.readouterr().out
    assert main(["retry", "out"]) == 0
    assert main(["trial", failing, "width=6,seed=1", "--out", "out"]) == 1
    with ledger_of("out") as ledger:
        history = ledger.trial(trial)["history"]
    assert [attempt["status"] for attempt in history] == ["failed", "failed"]
    assert all("the user's own error" in attempt["error"] for attempt in history)


def test_a_trial_that_diverges_is_done(tmp_path, study_path, capsys):
    diverging = write_study(tmp_path, "diverging", fails="diverges")
    assert main(["trial", str(diverging), "width=6,seed=1", "--out", "out"]) == 0
    assert "diverged: the loss was not finite in epoch 1" in capsys.readouterr().out


def test_a_metric_that_was_not_logged_is_named(study_path, capsys):
    text = study_path.read_text().replace("test/loss", "test/acc")
    study_path.write_text(text)
    assert main(["trial", str(study_path), "width=6,seed=1", "--out", "out"]) == 0
    assert "finished, but did not log test/acc; it logged epoch_number, test/loss" in capsys.readouterr().out


# ---- the plan ------------------------------------------------------------------------------------------------------


def test_an_existing_plan_is_not_written_again(study_path):
    def written():
        database = sqlite3.connect("out/ledger.sqlite")
        found = database.execute("SELECT updated_at, (SELECT group_concat(id) FROM trials) FROM study").fetchone()
        database.close()
        return found

    run_trial(study_path, "width=4,seed=0", "out")
    before = written()
    run_trial(study_path, "width=6,seed=0", "out")
    assert written() == before


def test_a_plan_grows_and_the_trials_of_other_processes_stay_running(tmp_path, study_path):
    run_trial(study_path, "width=4,seed=0", "out")
    with Ledger(Path("out/ledger.sqlite"), writable=True) as ledger:
        (other,) = [row["trial_id"] for row in ledger.trials() if (row["levels"], row["seed"]) == ({"width": "6"}, 0)]
        ledger.start(other, "{}")
    run_trial(load_study(study_path, seeds=3), "width=4,seed=2", "out")
    found = statuses("out")
    assert sorted(found.values()) == ["finished", "finished", "pending", "pending", "pending", "running"]
    assert found[other] == "running"
    run_trial(study_path, "width=4,seed=1", "out")  # of the smaller plan, which does not come back
    assert len(statuses("out")) == 6


def test_a_plan_never_loses_trials(study_path):
    run_trial(study_path, "width=4,seed=0", "out")
    with pytest.raises(InputError, match=r"out: holds another plan of 'waiting', with 4 trials that this one does not"):
        run_trial(load_study(study_path, changes={"trainer.max_epochs": 1}), "width=4,seed=0", "out")
    assert len(statuses("out")) == 4


def test_another_study_in_the_folder_is_refused(tmp_path, study_path):
    run_trial(study_path, "width=4,seed=0", "out")
    with pytest.raises(DirectoryError, match="out: holds study 'waiting', not 'other'; give another folder with --out"):
        run_trial(write_study(tmp_path, "other"), "width=4,seed=0", "out")


def test_a_study_without_trials_is_refused(tmp_path, study_path, capsys):
    content = yaml.safe_load(study_path.read_text()) | {"exclude": [{"width": [4, 6]}]}
    study_path.write_text(yaml.safe_dump(content))
    assert main(["trial", str(study_path), "width=4,seed=0"]) == 2
    assert "exclude: excludes every cell" in capsys.readouterr().err
    assert not Path("runs").exists()


# ---- with others in the folder -------------------------------------------------------------------------------------


def test_while_another_command_holds_the_folder_nothing_is_trained(study_path, tmp_path):
    with (
        lock_folder(Path("out")),
        pytest.raises(DirectoryError, match=r"out: is in use by process \d+ on .*; wait for it"),
    ):
        run_trial(study_path, "width=4,seed=0", "out", wait_seconds=0.1)
    assert num_begun(tmp_path) == 0
    assert not Path("out/ledger.sqlite").exists()


def test_a_call_waits_for_a_folder_that_is_soon_free(study_path, tmp_path):
    process = PROCESSES.Process(target=hold, args=(tmp_path / "out", tmp_path / "held", 2.0))
    process.start()
    wait_until((tmp_path / "held").exists)
    assert run_trial(study_path, "width=4,seed=0", "out").is_counted
    assert not (tmp_path / "held").exists()  # it had let go by then
    process.join(600)


class CallsAfterEpoch(Sink):
    """Sink that calls a function when the first epoch has ended."""

    def __init__(self, function):
        self.function = function

    def on_epoch_ended(self, trial, event):
        if event.epoch == 0:
            self.function(trial)

    def on_ended(self, trial, result):
        raise AssertionError("on_ended was called for a result that does not count")


def test_a_result_that_another_process_recorded_first_is_kept(study_path):
    def record(trial):
        with lock_folder(Path("out")), Ledger(Path("out/ledger.sqlite"), writable=True) as ledger:
            assert ledger.start(trial.trial_id, "{}") == 2
            result = Result(status=TrialStatus.FINISHED, metrics={"test/loss": 7.0})
            assert ledger.record_attempt(trial.trial_id, 2, result)

    outcome = run_trial(study_path, "width=4,seed=0", "out", sinks=[CallsAfterEpoch(record)])
    assert (outcome.was_trained, outcome.is_counted) == (True, False)
    assert outcome.row["metrics"] == {"test/loss": 7.0}
    assert [attempt["status"] for attempt in outcome.row["history"]] == ["finished, after another attempt", "finished"]


def test_run_may_train_the_trial_at_the_same_time(study_path):
    study = load_study(study_path)
    outcome = run_trial(
        study,
        "width=4,seed=0",
        "out",
        sinks=[CallsAfterEpoch(lambda _: run(study, "out", RunOptions(runner="inline", fuse="never")))],
    )
    assert (outcome.was_trained, outcome.is_counted) == (True, False)
    assert set(statuses("out").values()) == {"finished"}


@pytest.mark.slow
def test_a_result_that_cannot_be_recorded_is_an_error_and_the_trial_is_free(study_path):
    held = contextlib.ExitStack()
    sink = CallsAfterEpoch(lambda _: held.enter_context(lock_folder(Path("out"))))
    message = r"[0-9a-f]{16} ended as finished but is not recorded: out: is in use by"
    with held, pytest.raises(DirectoryError, match=message):
        run_trial(study_path, "width=4,seed=0", "out", sinks=[sink], wait_seconds=0.05)
    assert run_trial(study_path, "width=4,seed=0", "out").is_counted


@pytest.mark.slow
def test_processes_that_share_a_folder_record_each_trial_once(tmp_path):
    path = write_study(tmp_path)
    wanted = ["width=4,seed=0", "width=4,seed=1", "width=6,seed=0", "width=6,seed=1", "width=6,seed=1"]
    answers = PROCESSES.Queue()
    processes = [PROCESSES.Process(target=train_one, args=(path, trial, "out", answers)) for trial in wanted]
    for process in processes:
        process.start()
    wait_until(lambda: num_begun(tmp_path) == 5)  # all five train now, two of them the same trial
    assert set(statuses("out").values()) == {"running"}
    (tmp_path / "go").touch()
    answered = [answers.get(timeout=600) for _ in processes]
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0] * 5
    assert all(was_trained for _, was_trained, _ in answered)
    assert sorted(trial for trial, _, is_counted in answered if is_counted) == sorted(statuses("out"))
    run(path, "whole", RunOptions(runner="inline", fuse="never"))
    assert results("out") == results("whole")


@pytest.mark.slow
def test_after_kill_9_another_call_and_run_finish_the_study(tmp_path):
    path = write_study(tmp_path)
    answers = PROCESSES.Queue()
    processes = [
        PROCESSES.Process(target=train_one, args=(path, trial, "out", answers))
        for trial in ("width=4,seed=0", "width=6,seed=1")
    ]
    for process in processes:
        process.start()
    wait_until(lambda: num_begun(tmp_path) == 2)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
        process.join(600)
    assert sorted(statuses("out").values()) == ["pending", "pending", "running", "running"]
    (tmp_path / "go").touch()
    again = run_trial(path, "width=4,seed=0", "out")
    assert again.is_counted
    assert [attempt["status"] for attempt in again.row["history"]] == [None, "finished"]
    outcome = run(path, "out", RunOptions(runner="inline", fuse="never"))
    assert outcome.num_trained == 3
    run(path, "whole", RunOptions(runner="inline", fuse="never"))
    assert results("out") == results("whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_trial_is_pending_again(tmp_path, number):
    path = write_study(tmp_path)
    process = PROCESSES.Process(target=ablate, args=("trial", str(path), "width=6,seed=1", "--out", "out"))
    process.start()
    wait_until(lambda: num_begun(tmp_path) == 1)
    assert sorted(statuses("out").values()) == ["pending", "pending", "pending", "running"]
    os.kill(process.pid, number)
    process.join(600)
    assert process.exitcode == 130
    assert set(statuses("out").values()) == {"pending"}
    with ledger_of("out") as ledger:
        (trial,) = [row["trial_id"] for row in ledger.trials() if row["attempts"]]
        assert [attempt["ended_at"] for attempt in ledger.trial(trial)["history"]] == [None]

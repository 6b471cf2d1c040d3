"""`run_trial` and `ablate trial`: one trial of a study, by itself, in a folder that others use at the same time."""

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import sys
import time
from dataclasses import replace
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
    find_trial,
    load_study,
    run,
    run_trial,
)
from experiments.ledger.study_folder import lock_folder
from experiments.planning.plan import plan_trials

PROCESSES = multiprocessing.get_context("forkserver")  # which has imported torch; see conftest.py


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Commands run in a folder of their own; what `main` changes in the process is put back."""
    monkeypatch.chdir(tmp_path)
    path, handlers = list(sys.path), {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    yield
    sys.path[:] = path
    for name, handler in handlers.items():
        signal.signal(name, handler)


@pytest.fixture
def study_path(tmp_path):
    """Two widths and two seeds; it trains at once where the file `go` is there, as it is at first."""
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


def test_what_watches_is_told_as_by_run(study_path):
    class Watcher(Sink):
        def __init__(self):
            self.told = []

        def on_data_notes(self, notes):
            self.told.append("noted")

        def on_planned(self, counts, groups, num_slots):
            self.told.append(("planned", counts["running"], len(groups), num_slots))

        def on_started(self, trial):
            self.told.append("started")

        def on_epoch_ended(self, trial, event):
            self.told.append(event.epoch)

        def on_ended(self, trial, result):
            self.told.append(result.status)

    watcher = Watcher()
    run_trial(study_path, "width=4,seed=0", "out", sinks=[watcher])
    assert watcher.told == ["noted", ("planned", 1, 1, 1), "started", 0, 1, "finished"]
    run_trial(study_path, "width=4,seed=0", "out", sinks=[watcher])
    assert watcher.told[6:] == ["noted"]


def test_the_command_tells_the_result_and_where_it_is(study_path, capsys):
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


def test_a_metric_that_nobody_logged_is_told(study_path, capsys):
    text = study_path.read_text().replace("test/loss", "test/acc")
    study_path.write_text(text)
    assert main(["trial", str(study_path), "width=6,seed=1", "--out", "out"]) == 0
    assert "finished, but did not log test/acc; it logged epoch_number, test/loss" in capsys.readouterr().out


# ---- the plan ------------------------------------------------------------------------------------------------------


def test_a_plan_that_is_there_is_not_written_again(study_path):
    def written():
        database = sqlite3.connect("out/ledger.sqlite")
        found = database.execute("SELECT updated_at, (SELECT group_concat(id) FROM trials) FROM study").fetchone()
        database.close()
        return found

    run_trial(study_path, "width=4,seed=0", "out")
    before = written()
    run_trial(study_path, "width=6,seed=0", "out")
    assert written() == before


def test_a_plan_grows_and_what_others_train_stays_so(tmp_path, study_path):
    run_trial(study_path, "width=4,seed=0", "out")
    with Ledger(Path("out/ledger.sqlite"), writable=True) as ledger:
        others = find_trial(plan_trials(load_study(study_path)), "width=6,seed=0", load_study(study_path)).trial_id
        ledger.start(others, "{}")
    run_trial(load_study(study_path, seeds=3), "width=4,seed=2", "out")
    found = statuses("out")
    assert sorted(found.values()) == ["finished", "finished", "pending", "pending", "pending", "running"]
    assert found[others] == "running"
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


# ---- which trial ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["{id}", "{id:.6}", "trial={id}", "trial='{id}'", "width=6,seed=1", "seed=1, width=6", "width=6, seed=1"]
)
def test_a_trial_is_named_by_its_id_or_by_what_it_is(study_path, text):
    study = load_study(study_path)
    trials = plan_trials(study)
    (wanted,) = [trial for trial in trials if trial.levels == {"width": "6"} and trial.seed == 1]
    text = text.replace("{id:.6}", wanted.trial_id[:6]).replace("{id}", wanted.trial_id)
    assert find_trial(trials, text, study) is wanted


def test_a_level_may_have_commas_and_equals_signs_in_its_name(study_path):
    content = yaml.safe_load(study_path.read_text())
    content["factors"]["width"]["levels"] = {"4, width=four": 4, "6=six": 6}
    content["factors"]["width"]["reference"] = "6=six"
    content["factors"]["size"] = {"key": "data.init_args.batch_size", "levels": [8, 16]}
    study_path.write_text(yaml.safe_dump(content))
    study = load_study(study_path)
    trials = plan_trials(study)
    assert find_trial(trials, "width=6=six,size=8,seed=0", study).levels == {"width": "6=six", "size": "8"}
    with pytest.raises(InputError, match="Levels and a seed do as well: 'size=8,width=4, width=four,seed=0'"):
        find_trial(trials, "12", study)
    assert find_trial(trials, "size=8,width=4, width=four,seed=0", study) is trials[0]


def test_short_names_and_quotes_are_levels_too(study_path):
    content = yaml.safe_load(study_path.read_text())
    content["factors"] = {"a": {"key": "model.init_args.width", "levels": {"'q'": 4, "z": 6}}}
    study_path.write_text(yaml.safe_dump(content | {"seeds": 1}))
    study = load_study(study_path)
    quoted, plain = plan_trials(study)
    assert find_trial([quoted, plain], "a=z", study) is plain
    assert find_trial([quoted, plain], "seed=0,a='q'", study) is quoted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "too short for the beginning of an id, of which 4 characters are needed"),
        ("12", "TRIAL '12': is too short .* Levels and a seed do as well: 'width=4,seed=0'"),
        ("zzzzzz", "no trial of 'waiting' has an id that begins so; `ablate wandb sweep` lists the 4 trials"),
        ("width=6", "TRIAL 'width=6': may be any of 2 trials; give more of it\n  [0-9a-f]{16}  width=6, seed=0\n  "),
        ("width=5,seed=0", "'5' is no level of width; accepted: 4, 6"),
        ("width=6,seed=7", "'7' is no seed; accepted: 0, 1"),
        ("widht=6", "'widht' is no factor of 'waiting'; did you mean 'width'[?] factors: width, seed"),
    ],
)
def test_a_trial_that_is_none_is_told_with_what_is_meant(study_path, text, message):
    study = load_study(study_path)
    with pytest.raises(InputError, match=message):
        find_trial(plan_trials(study), text, study)


def test_a_mistyped_id_is_told_with_the_nearest(study_path):
    study = load_study(study_path)
    trials = plan_trials(study)
    wanted = trials[2].trial_id
    mistyped = wanted[:5] + ("0" if wanted[5] != "0" else "1") + wanted[6:9]
    with pytest.raises(InputError, match=f"did you mean {wanted}[?]"):
        find_trial(trials, mistyped, study)


def test_a_beginning_of_several_ids_is_ambiguous(study_path):
    study = load_study(study_path)
    trials = plan_trials(study)
    twin = replace(trials[0], trial_id=f"{trials[0].trial_id[:8]}00000000")
    with pytest.raises(InputError, match=f"may be any of 2 trials; give more of it\n  {trials[0].trial_id}  width=4"):
        find_trial([*trials, twin], trials[0].trial_id[:8], study)


def test_a_trial_of_the_folders_plan_but_not_of_this_is_told(study_path):
    wanted = run_trial(load_study(study_path, seeds=3), "width=4,seed=2", "out").trial.trial_id
    with pytest.raises(InputError, match="is a trial of out, but not of this plan; give the --seeds and --set"):
        run_trial(study_path, wanted, "out")


# ---- with others in the folder -------------------------------------------------------------------------------------


def test_while_another_command_holds_the_folder_nothing_is_trained(study_path, tmp_path):
    with (
        lock_folder(Path("out")),
        pytest.raises(DirectoryError, match=r"out: is in use by process \d+ on .*; wait for it"),
    ):
        run_trial(study_path, "width=4,seed=0", "out", wait_seconds=0.1)
    assert num_begun(tmp_path) == 0
    assert not Path("out/ledger.sqlite").exists()


def test_a_folder_that_is_soon_free_is_waited_for(study_path, tmp_path):
    process = PROCESSES.Process(target=hold, args=(tmp_path / "out", tmp_path / "held", 2.0))
    process.start()
    wait_until((tmp_path / "held").exists)
    assert run_trial(study_path, "width=4,seed=0", "out").is_counted
    assert not (tmp_path / "held").exists()  # it had let go by then
    process.join(600)


class DoesMeanwhile(Sink):
    """Something that watches, and calls a function when the first epoch has ended."""

    def __init__(self, function):
        self.function = function

    def on_epoch_ended(self, trial, event):
        if event.epoch == 0:
            self.function(trial)

    def on_ended(self, trial, result):
        raise AssertionError("a result that does not count was told")


def test_a_result_that_another_recorded_first_stays(study_path):
    def record(trial):
        with lock_folder(Path("out")), Ledger(Path("out/ledger.sqlite"), writable=True) as ledger:
            assert ledger.start(trial.trial_id, "{}") == 2
            result = Result(status=TrialStatus.FINISHED, metrics={"test/loss": 7.0})
            assert ledger.record_attempt(trial.trial_id, 2, result)

    outcome = run_trial(study_path, "width=4,seed=0", "out", sinks=[DoesMeanwhile(record)])
    assert (outcome.was_trained, outcome.is_counted) == (True, False)
    assert outcome.row["metrics"] == {"test/loss": 7.0}
    assert [attempt["status"] for attempt in outcome.row["history"]] == ["finished, after another attempt", "finished"]


def test_run_may_train_the_trial_at_the_same_time(study_path):
    study = load_study(study_path)
    outcome = run_trial(
        study,
        "width=4,seed=0",
        "out",
        sinks=[DoesMeanwhile(lambda _: run(study, "out", RunOptions(runner="inline", fuse="never")))],
    )
    assert (outcome.was_trained, outcome.is_counted) == (True, False)
    assert set(statuses("out").values()) == {"finished"}


@pytest.mark.slow
def test_a_result_that_cannot_be_recorded_is_told_and_the_trial_is_free(study_path):
    held = contextlib.ExitStack()
    watcher = DoesMeanwhile(lambda _: held.enter_context(lock_folder(Path("out"))))
    message = r"[0-9a-f]{16} ended as finished but is not recorded: out: is in use by"
    with held, pytest.raises(DirectoryError, match=message):
        run_trial(study_path, "width=4,seed=0", "out", sinks=[watcher], wait_seconds=0.05)
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
    told = [answers.get(timeout=600) for _ in processes]
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0] * 5
    assert all(was_trained for _, was_trained, _ in told)
    assert sorted(trial for trial, _, is_counted in told if is_counted) == sorted(statuses("out"))
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

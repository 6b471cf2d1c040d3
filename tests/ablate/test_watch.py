"""Tests of `ablate status --watch` and `ablate run --wait`: a second command while the first runs."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from small_study import small_study

from ablate.watch import watch_status
from experiments import Ledger, RunOptions, Sink, parse_study, run
from experiments.ledger.study_folder import lock_folder


class Slowly(Sink):
    """Sink that sleeps after each trial, so that a watcher sees it."""

    def on_ended(self, trial, result):
        time.sleep(1.2)


def watched(directory, **options):
    console = Console(file=io.StringIO(), width=100, highlight=False, **options)
    thread = threading.Thread(target=watch_status, args=(directory, console))
    thread.start()
    return thread, console.file


def wait_for(is_so):
    deadline = time.monotonic() + 600
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def planned_only(directory):
    """Make a folder with a plan and no trained trial."""

    class Stops(Sink):
        def on_planned(self, counts, groups, num_slots):
            raise KeyboardInterrupt

    study = parse_study(small_study(seeds=1), name="small")
    with contextlib.suppress(KeyboardInterrupt):
        run(study, directory, RunOptions(runner="inline", fuse="never"), [Stops()])
    return study


def test_without_a_terminal_each_change_is_a_line_until_the_study_ends(tmp_path):
    study = planned_only(tmp_path / "s")
    thread, text = watched(tmp_path / "s")
    wait_for(text.getvalue)
    assert text.getvalue() == "2 trials, 2 pending; no command is running\n"
    assert thread.is_alive()  # the study is not complete: a command will come
    run(study, tmp_path / "s", RunOptions(runner="inline", fuse="never"), [Slowly()])
    thread.join(timeout=600)
    assert not thread.is_alive()
    lines = text.getvalue().splitlines()
    assert len(lines) == len(set(lines))
    assert any(line.startswith("2 trials, ") and "1 finished" in line for line in lines)
    assert lines[-1] == "2 trials, 2 finished; no command is running"


def test_a_terminal_shows_the_status_until_the_study_is_complete(tmp_path):
    study = planned_only(tmp_path / "s")
    thread, text = watched(tmp_path / "s", force_terminal=True)
    wait_for(lambda: "no command is running; waiting for one (Ctrl-C stops)" in text.getvalue())
    run(study, tmp_path / "s", RunOptions(runner="inline", fuse="never"))
    thread.join(timeout=600)
    assert not thread.is_alive()
    last = text.getvalue().rpartition("Does the activation matter?")[2]
    assert "2 trials, 2 finished" in last
    assert "complete" in last


def test_watching_never_prevents_a_command_from_starting(tmp_path):
    """Test it since watching briefly holds the lock of the folder."""
    from experiments.ledger.study_folder import is_in_use

    over = threading.Event()

    def look():
        while not over.is_set():
            is_in_use(tmp_path / "s")

    with lock_folder(tmp_path / "s"):
        pass
    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            with lock_folder(tmp_path / "s"):
                pass
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_second_run_waits_names_the_first_and_continues_after_it(tmp_path):
    study = parse_study(small_study(seeds=1), name="small")
    holding, may_go = threading.Event(), threading.Event()

    def hold():
        with lock_folder(tmp_path / "s"):
            holding.set()
            may_go.wait(600)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(600)

    printed = []

    class Waits(Sink):
        def on_waiting(self, message):
            printed.append(message)
            may_go.set()

    options = RunOptions(runner="inline", fuse="never", wait_for_folder=True)
    outcome = run(study, tmp_path / "s", options, [Waits()])
    thread.join()
    assert outcome.counts["finished"] == 2
    (line,) = printed
    assert line.startswith(f"{tmp_path / 's'}: waiting for process {os.getpid()} on ")


@pytest.mark.slow
def test_two_commands_and_a_watcher_in_separate_terminals(tmp_path):
    base = {
        "model": {"class_path": "faulty_module.SlowlyPaired", "init_args": {"seconds": 0.5}},
        "data": {"class_path": "user_module.UserData"},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    }
    factors = {"width": {"key": "model.init_args.width", "levels": [4, 6]}}
    study = small_study(base=base, factors=factors, seeds=20, metric={"name": "test/loss", "goal": "min"})
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump(study))
    line = [sys.executable, "-m", "ablate"]
    training = [*line, "run", "twice.yaml", "--out", "s", "--fuse", "never", "--wait"]
    tests = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests / "support")])}

    def start(arguments, **options):
        return subprocess.Popen(
            arguments,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    first = start(training)
    while not (tmp_path / "s" / "logs").exists() and first.poll() is None:
        time.sleep(0.05)
    second = start([*training, "--seeds", "21"])
    master, slave = pty.openpty()
    watcher = subprocess.Popen([*line, "status", "s", "--watch"], cwd=tmp_path, env=environment, stdout=slave)
    os.close(slave)
    seen = b""
    with contextlib.suppress(OSError):  # how a terminal's other side says that it is closed
        while block := os.read(master, 2**16):
            seen += block
    os.close(master)
    assert watcher.wait(timeout=600) == 0
    assert f"s: waiting for process {first.pid} on " in second.communicate(timeout=600)[0]
    assert (first.communicate(timeout=600)[0] is not None, first.returncode, second.returncode) == (True, 0, 0)
    assert b"finished" in seen
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as ledger:
        assert ledger.counts()["finished"] == 42
        assert {row["attempts"] for row in ledger.trials()} == {1}

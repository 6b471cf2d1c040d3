"""Faults while a study runs, each one real: no trial is lost and none is counted twice."""

import contextlib
import datetime as dt
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml
from slow import slow, slow_except
from small_study import small_study

from experiments import Ledger, LedgerError, RunOptions, Sink, parse_study, run
from experiments.ledger import file as ledger_file
from experiments.ledger import ledger


def faulty(folder, *faults, seeds=2):
    """Make a study with a healthy level and a level for each fault; 3 short epochs per trial."""
    base = {
        "model": {"class_path": "faulty_module.Faulty", "init_args": {"folder": str(folder)}},
        "data": {"class_path": "user_module.UserData"},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    }
    factors = {"fault": {"key": "model.init_args.fault", "levels": ["", *faults]}}
    metric = {"name": "test/loss", "goal": "min"}
    return parse_study(small_study(base=base, factors=factors, seeds=seeds, metric=metric), name="faulty")


def train(study, directory, sinks=(), **options):
    return run(study, directory, RunOptions(**{"num_slots": 2, "fuse": "never"} | options), sinks)


def arm(folder):
    (folder / "armed").touch()


def disarm(folder):
    (folder / "armed").unlink()


def of_level(directory, fault):
    """Return the trials of a level with all their fields."""
    with Ledger(directory / "ledger.sqlite", writable=False) as open_ledger:
        ids = [row["trial_id"] for row in open_ledger.trials() if row["levels"]["fault"] == fault]
        return [open_ledger.trial(trial_id) for trial_id in ids]


def attempts(trial):
    return [attempt["status"] for attempt in trial["history"]]


def assert_as_if_nothing_had_happened(study, directory, undisturbed, **options):
    """Assert that all trials ended as in an undisturbed run: the same values, each trial counted once."""
    train(study, undisturbed, **options)

    def content(folder):
        with Ledger(folder / "ledger.sqlite", writable=False) as open_ledger:
            trials = [(row["trial_id"], row["status"]) for row in open_ledger.trials()]
            return sorted(trials), sorted(open_ledger.metrics()), sorted(open_ledger.epochs())

    assert content(directory) == content(undisturbed)
    with Ledger(directory / "ledger.sqlite", writable=False) as open_ledger:
        histories = [open_ledger.trial(row["trial_id"])["history"] for row in open_ledger.trials()]
    assert {[attempt["status"] for attempt in history].count("finished") for history in histories} == {1}


@pytest.mark.parametrize(
    "fault", slow_except(["kill_once", "kill_with_child_once", "segfault_once", "leave_once"], "kill_with_child_once")
)
def test_a_worker_lost_once_costs_only_its_running_trial_which_is_retried(fault, tmp_path):
    study = faulty(tmp_path, fault)
    arm(tmp_path)
    started = time.monotonic()
    assert train(study, tmp_path / "s").counts["finished"] == 4
    assert time.monotonic() - started < 1800  # a child of the worker that lives on for an hour is not waited for
    assert sorted(map(attempts, of_level(tmp_path / "s", fault))) == [["finished"], ["lost", "finished"]]
    disarm(tmp_path)
    assert_as_if_nothing_had_happened(study, tmp_path / "s", tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("kill", "the worker process was ended by SIGKILL; the kernel does this when memory runs out"),
        ("segfault", "the worker process was ended by SIGSEGV"),
        ("leave", "the worker process ended by itself with exit code 0"),
    ],
)
def test_a_trial_that_always_kills_its_worker_fails_after_the_last_retry(fault, reason, tmp_path):
    arm(tmp_path)
    outcome = train(faulty(tmp_path, fault, seeds=1), tmp_path / "s", num_retries=1)
    assert (outcome.counts["finished"], outcome.counts["failed"]) == (1, 1)
    (trial,) = of_level(tmp_path / "s", fault)
    assert attempts(trial) == ["lost", "failed"]
    assert trial["error"] == reason
    assert {attempt["error"] for attempt in trial["history"]} == {reason}


def test_without_retries_a_lost_worker_is_a_failed_trial(tmp_path):
    arm(tmp_path)
    train(faulty(tmp_path, "kill", seeds=1), tmp_path / "s", num_retries=0)
    assert [attempts(trial) for trial in of_level(tmp_path / "s", "kill")] == [["failed"]]


def test_an_error_of_the_users_code_is_retried_only_on_request(tmp_path):
    arm(tmp_path)
    train(faulty(tmp_path, "raise_once", "exit", seeds=1), tmp_path / "s")
    (raised,), (left,) = of_level(tmp_path / "s", "raise_once"), of_level(tmp_path / "s", "exit")
    assert (attempts(raised), attempts(left)) == (["failed"], ["failed"])
    assert raised["error"].rstrip().endswith("RuntimeError: the user's own error")
    assert left["error"].rstrip().endswith("SystemExit: enough")
    (tmp_path / "fired-raise").unlink()
    train(faulty(tmp_path, "raise_once", "exit", seeds=1), tmp_path / "again", retry_errors=True)
    (raised,), (left,) = of_level(tmp_path / "again", "raise_once"), of_level(tmp_path / "again", "exit")
    assert (attempts(raised), attempts(left)) == (["failed", "finished"], ["failed", "failed", "failed"])
    assert raised["history"][0]["error"].rstrip().endswith("RuntimeError: the user's own error")
    assert raised["error"] is None


def test_an_error_with_a_lone_surrogate_is_recorded_and_costs_only_its_trial(tmp_path):
    arm(tmp_path)
    outcome = train(faulty(tmp_path, "raise_oddly", seeds=1), tmp_path / "s", runner="inline")
    assert (outcome.counts["failed"], outcome.counts["finished"]) == (1, 1)
    (raised,) = of_level(tmp_path / "s", "raise_oddly")
    assert raised["error"].rstrip().endswith(r"RuntimeError: no file caf\udce9")


@pytest.mark.parametrize("runner", ["local", "inline"])
def test_a_trial_that_changes_the_working_directory_affects_nothing_else(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arm(tmp_path)
    workers = {"num_slots": None} if runner == "inline" else {"num_slots": 1}
    outcome = train(faulty(tmp_path, "go_elsewhere", "note_folder"), Path("s"), runner=runner, **workers)
    assert outcome.counts["finished"] == 6
    assert Path.cwd() == tmp_path
    assert set((tmp_path / "folders").read_text().split()) == {str(tmp_path)}


@pytest.mark.parametrize("runner", ["local", slow("inline")])
@pytest.mark.parametrize("fault", ["hang", slow("spin")])
def test_a_trial_that_hangs_is_killed_and_fails(fault, runner, tmp_path):
    arm(tmp_path)
    workers = {"num_slots": None} if runner == "inline" else {}
    outcome = train(faulty(tmp_path, fault, seeds=1), tmp_path / "s", timeout_seconds=8, runner=runner, **workers)
    assert (outcome.counts["finished"], outcome.counts["failed"]) == (1, 1)
    (trial,) = of_level(tmp_path / "s", fault)
    assert attempts(trial) == ["failed"]
    assert trial["error"] == "took longer than the 8 s that --timeout gives"


@pytest.mark.slow
def test_a_group_that_hangs_is_killed_after_the_sum_of_timeouts_and_unfused(tmp_path):
    base = {
        "model": {"class_path": "fusable_module.HangsInCompany"},
        "data": {"class_path": "fusable_module.Points"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    factors = {"lr": {"key": "model.init_args.lr", "levels": [0.1, 0.2]}}
    study = parse_study(small_study(base=base, factors=factors, seeds=1), name="hangs")
    outcome = train(study, tmp_path / "s", num_slots=1, fuse="auto", timeout_seconds=6)
    assert outcome.counts["finished"] == 2
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as open_ledger:
        for row in open_ledger.trials():
            assert row["why_alone"] == "the fused group failed: took longer than the 12 s that --timeout gives"
            assert attempts(open_ledger.trial(row["trial_id"])) == ["not fused", "finished"]


def test_a_trial_that_cannot_allocate_memory_fails_and_its_worker_continues(tmp_path):
    arm(tmp_path)
    outcome = train(faulty(tmp_path, "memory"), tmp_path / "s", num_slots=1)
    assert (outcome.counts["finished"], outcome.counts["failed"]) == (2, 2)
    for trial in of_level(tmp_path / "s", "memory"):
        assert "MemoryError" in trial["error"] or "can't allocate memory" in trial["error"]


@pytest.mark.slow
def test_a_trial_killed_for_its_memory_is_retried_in_another_worker(tmp_path):
    """Kill the process with the most memory once it has too much, as the kernel does."""
    arm(tmp_path)
    over = threading.Event()

    def kernel():
        while not over.wait(0.05):
            with contextlib.suppress(OSError, ValueError, psutil.Error):
                eater = psutil.Process(int((tmp_path / "eater").read_text()))
                if eater.memory_info().rss > 1.2 * 2**30:
                    eater.kill()

    thread = threading.Thread(target=kernel)
    thread.start()
    try:
        study = faulty(tmp_path, "eat_once", seeds=1)
        assert train(study, tmp_path / "s").counts["finished"] == 2
    finally:
        over.set()
        thread.join()
    (trial,) = of_level(tmp_path / "s", "eat_once")
    assert attempts(trial) == ["lost", "finished"]
    assert "SIGKILL; the kernel does this when memory runs out" in trial["history"][0]["error"]
    disarm(tmp_path)
    assert_as_if_nothing_had_happened(study, tmp_path / "s", tmp_path / "undisturbed")


@pytest.mark.parametrize("runner", ["local", pytest.param("inline", marks=pytest.mark.slow)])
def test_a_module_that_prints_and_forks_trains_once(runner, tmp_path):
    """Let a forked child return into the training step: it must not report for the trial, nor write the ledger."""
    if runner == "inline":  # a fork of pytest itself, which has other files open: in a process of its own
        code = (
            "import sys; from pathlib import Path; sys.path[:0] = sys.argv[2:]\n"
            "from test_faults import faulty, train\n"
            "folder = Path(sys.argv[1])\n"
            "train(faulty(folder, 'print', 'fork'), folder / 's', runner='inline')\n"
            "print('over', flush=True)\n"
        )
        arm(tmp_path)
        here = Path(__file__).parent
        folders = [str(tmp_path), str(here), str(Path(__file__).parents[2] / "support")]
        done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, timeout=600, check=True)
        assert done.stdout.count(b"over") == 1
    else:
        arm(tmp_path)
        train(faulty(tmp_path, "print", "fork"), tmp_path / "s")
        printed = b"".join(path.read_bytes() for path in (tmp_path / "s" / "logs").iterdir())
        assert b"from a child\n" in printed
        assert b"to the other\n" in printed
    time.sleep(1)  # what a child would still do
    for fault in ("print", "fork", ""):
        assert [attempts(trial) for trial in of_level(tmp_path / "s", fault)] == [["finished"]] * 2
    disarm(tmp_path)
    study = faulty(tmp_path, "print", "fork")
    assert_as_if_nothing_had_happened(study, tmp_path / "s", tmp_path / "undisturbed")


class Full(Sink):
    """Sink that leaves the ledger no room from the second result on, as a full disk does."""

    def __init__(self, connections):
        self.connections = connections
        self.num_ended = 0

    def on_ended(self, trial, result):
        self.num_ended += 1
        if self.num_ended == 2:
            for database in self.connections:
                with contextlib.suppress(sqlite3.ProgrammingError):  # one that is closed
                    pages = database.execute("PRAGMA page_count").fetchone()[0]
                    database.execute(f"PRAGMA max_page_count = {pages}")


@pytest.fixture
def connections(monkeypatch):
    """Return the list of connections that ledgers open."""
    opened = []
    connect = sqlite3.connect

    def note(*args, **options):
        opened.append(connect(*args, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", note)
    return opened


@pytest.mark.slow
def test_a_full_ledger_ends_the_run_with_an_error_and_the_command_continues(tmp_path, connections):
    study = faulty(tmp_path, "raise", seeds=8)  # of which one needs a page more than there is
    with pytest.raises(
        LedgerError, match=r"ledger.sqlite: cannot be written \(database or disk is full\); free disk space"
    ):
        train(study, tmp_path / "s", sinks=[Full(connections)], num_slots=1)
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as open_ledger:
        counts = open_ledger.counts()
    assert counts["finished"] >= 2
    assert counts["pending"] + counts["running"] > 0
    assert_as_if_nothing_had_happened_after_more(study, tmp_path)


def assert_as_if_nothing_had_happened_after_more(study, tmp_path):
    assert train(study, tmp_path / "s").counts["pending"] == 0
    assert_as_if_nothing_had_happened(study, tmp_path / "s", tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_ledger_that_stays_locked_ends_the_run_with_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 1.0)
    study = faulty(tmp_path, "raise")
    code = (
        "import sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('BEGIN IMMEDIATE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )

    class Locks(Sink):
        """Sink that locks the file once a trial has ended."""

        other = None

        def on_ended(self, trial, result):
            if self.other is None:
                path = str(tmp_path / "s" / "ledger.sqlite")
                self.other = subprocess.Popen(
                    [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                assert self.other.stdout.readline() == b"locked\n"

    locks = Locks()
    with pytest.raises(LedgerError, match=r"ledger.sqlite: is locked by another process .*; wait for it or stop it"):
        train(study, tmp_path / "s", sinks=[locks], num_slots=1)
    locks.other.communicate()
    assert_as_if_nothing_had_happened_after_more(study, tmp_path)


def test_a_run_waits_for_a_ledger_that_is_locked_for_a_moment(tmp_path):
    study = faulty(tmp_path, "raise", seeds=1)

    class LocksForAMoment(Sink):
        def on_ended(self, trial, result):
            other = sqlite3.connect(tmp_path / "s" / "ledger.sqlite", isolation_level=None, check_same_thread=False)
            other.execute("BEGIN IMMEDIATE")
            threading.Timer(0.7, lambda: (other.execute("ROLLBACK"), other.close())).start()

    assert train(study, tmp_path / "s", sinks=[LocksForAMoment()], num_slots=1).counts["finished"] == 2
    time.sleep(1)


def test_a_clock_that_jumps_changes_no_duration_and_no_result(tmp_path, monkeypatch):
    """Set the clock back by a day and forward by two at every call."""
    days = iter(range(10**6))

    def jump():
        return (-1, 0, 2)[next(days) % 3] * 86_400.0

    class Jumping(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return dt.datetime.now(tz) + dt.timedelta(seconds=jump())

    of_day = time.time
    study = faulty(tmp_path, "raise_once")
    with monkeypatch.context() as changed:
        changed.setattr(time, "time", lambda: of_day() + jump())
        changed.setattr(ledger, "datetime", Jumping)
        assert train(study, tmp_path / "s", timeout_seconds=600, runner="inline").counts["finished"] == 4
    for fault in ("", "raise_once"):
        assert all(0 < trial["seconds"] < 60 for trial in of_level(tmp_path / "s", fault))
    assert_as_if_nothing_had_happened(study, tmp_path / "s", tmp_path / "undisturbed", runner="inline")


# ---- of the command as a whole, in processes of its own ------------------------------------------------------------


def command(folder, study, *options):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study.to_dict()))
    arguments = [sys.executable, "-m", "ablate", "run", str(path), "--out", str(folder / "s"), *options]
    paths = [str(Path(__file__).parents[2] / "support"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [*arguments, "--fuse", "never", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


def slow_study(seeds=3, seconds=0.4):
    base = {
        "model": {"class_path": "faulty_module.SlowlyPaired", "init_args": {"seconds": seconds}},
        "data": {"class_path": "user_module.UserData"},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    }
    factors = {"width": {"key": "model.init_args.width", "levels": [4, 6]}}
    metric = {"name": "test/loss", "goal": "min"}
    return parse_study(small_study(base=base, factors=factors, seeds=seeds, metric=metric), name="slow")


def wait_until(directory, status, number, process, seconds=600):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(LedgerError), Ledger(directory / "ledger.sqlite", writable=False) as open_ledger:
            if open_ledger.counts()[status] >= number:
                return
        time.sleep(0.02)
    raise AssertionError(f"no {number} {status} trials: {process.communicate(timeout=600)[0]}")


@pytest.mark.slow
def test_sigterm_to_every_process_of_a_job_loses_nothing(tmp_path):
    """Signal all processes, workers too, as SLURM does at preemption, half a minute before it kills them."""
    study = slow_study()
    process = command(tmp_path, study, "--retries", "0")
    wait_until(tmp_path / "s", "finished", 2, process)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in reversed(family):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 130, out
    assert "interrupted; the same command continues" in out
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    with Ledger(tmp_path / "s" / "ledger.sqlite", writable=False) as open_ledger:
        counts = open_ledger.counts()
    assert counts["failed"] == counts["running"] == 0
    assert 2 <= counts["finished"] < 6
    again = command(tmp_path, study)
    assert "6/6 trials done" in again.communicate(timeout=600)[0]
    assert_as_if_nothing_had_happened(study, tmp_path / "s", tmp_path / "undisturbed")


@pytest.mark.slow
def test_sigterm_to_a_single_worker_leaves_no_failed_trial(tmp_path):
    study = slow_study(seeds=2)
    process = command(tmp_path, study)
    wait_until(tmp_path / "s", "running", 1, process)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and os.getpgid(child.pid) == child.pid
    ]
    workers[0].send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    assert_as_if_nothing_had_happened(study, tmp_path / "s", tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_full_file_system_ends_with_exit_code_2_and_the_command_continues(tmp_path):
    """Run on a separate file system of 300 KB, which an unprivileged user may mount in a user name space."""
    mounting = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*mounting, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs in a user name space")
    study = slow_study(seeds=40, seconds=0.0)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study.to_dict()))
    (tmp_path / "small").mkdir()
    run_line = f"{sys.executable} -m ablate run {path} --out {tmp_path}/small/s --fuse never --workers 2"
    script = (
        f"mount -t tmpfs -o size=300k none {tmp_path}/small\n"
        f"{run_line} > {tmp_path}/first.txt 2>&1; echo $? > {tmp_path}/first.code\n"
        f"cp -r {tmp_path}/small/s {tmp_path}/kept\n"
        f"mount -o remount,size=30m {tmp_path}/small\n"
        f"{run_line} > {tmp_path}/second.txt 2>&1; echo $? > {tmp_path}/second.code\n"
        f"cp -r {tmp_path}/small/s {tmp_path}/s\n"
    )
    paths = [str(Path(__file__).parents[2] / "support"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    subprocess.run([*mounting, "sh", "-c", script], env=environment, timeout=600, check=True)
    first = (tmp_path / "first.txt").read_text()
    assert (tmp_path / "first.code").read_text() == "2\n", first
    assert "ledger.sqlite: cannot be written (" in first
    assert "Traceback" not in first
    with Ledger(tmp_path / "kept" / "ledger.sqlite", writable=False) as open_ledger:
        assert 0 < open_ledger.counts()["finished"] < 80
    assert (tmp_path / "second.code").read_text() == "0\n", (tmp_path / "second.txt").read_text()
    assert_as_if_nothing_had_happened(study, tmp_path / "s", tmp_path / "undisturbed")

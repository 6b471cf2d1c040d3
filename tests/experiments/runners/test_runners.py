"""Contract of every runner, and abilities of workers only."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tasks

from experiments.runners import (
    Done,
    Emitted,
    InlineRunner,
    LocalRunner,
    Lost,
    Raised,
    RayRunner,
    Started,
    Task,
    TimedOut,
)

RUNNERS = {"inline": InlineRunner, "local": lambda: LocalRunner(2)}


@pytest.fixture(params=[*RUNNERS, pytest.param("ray", marks=pytest.mark.ray)])
def runner(request):
    if request.param == "ray":
        yield request.getfixturevalue("ray_runner")
        return
    with RUNNERS[request.param]() as runner:
        yield runner


@pytest.fixture(scope="module")
def ray_runner():
    """Start one for all tests: Ray takes seconds to start."""
    with RayRunner(num_slots=2) as runner:
        yield runner


@pytest.fixture
def local():
    with LocalRunner(2) as runner:
        yield runner


def run(runner, *pairs):
    events = []
    runner.run(
        [Task(key=str(key), function=function, argument=argument) for key, (function, argument) in enumerate(pairs)],
        events.append,
    )
    return events


def of(events, key):
    return [event for event in events if event.key == str(key)]


def test_each_task_starts_emits_its_messages_and_ends_once(runner):
    events = run(runner, *[(tasks.double, number) for number in range(5)])
    for number in range(5):
        assert of(events, number) == [
            Started(key=str(number)),
            Emitted(key=str(number), message=("half", number / 2)),
            Emitted(key=str(number), message=("again", number)),
            Done(key=str(number), value=number * 2),
        ]


def test_without_tasks_there_are_no_events(runner):
    assert run(runner) == []


def test_an_error_arrives_with_its_traceback_and_affects_no_other_task(runner):
    events = run(runner, (tasks.fail, "mine"), (tasks.double, 1))
    *_, emitted, raised = of(events, 0)
    assert emitted == Emitted(key="0", message="before")
    assert isinstance(raised, Raised)
    assert isinstance(raised.error, ValueError)
    assert str(raised.error) == "mine"
    assert "in fail" in raised.traceback
    assert of(events, 1)[-1] == Done(key="1", value=2)


def test_a_task_is_taken_only_when_a_slot_is_free_and_all_events_are_handled(runner):
    handled, asked = [], []

    def ask():
        for number in range(6):
            ended = sum(isinstance(event, Done) for event in handled)
            asked.append(number - ended)
            yield Task(key=str(number), function=tasks.double, argument=number)

    runner.run(ask(), handled.append)
    assert max(asked) <= runner.num_slots - 1 + (runner.num_slots > 1)
    assert sum(isinstance(event, Done) for event in handled) == 6


def test_an_error_of_the_handler_ends_the_run(runner):
    def handle(event):
        raise KeyError("the handler's")

    with pytest.raises(KeyError, match="the handler's"):
        runner.run([Task(key="a", function=tasks.double, argument=1)], handle)


def test_a_runner_runs_again_after_an_error_of_the_handler(runner):
    def handle(event):
        if isinstance(event, Emitted):
            raise KeyError("the handler's")

    tasks_ = [Task(key=str(number), function=tasks.double, argument=number) for number in range(4)]
    with pytest.raises(KeyError):
        runner.run(tasks_, handle)
    assert [event.value for event in run(runner, (tasks.double, 5)) if isinstance(event, Done)] == [10]


def test_a_task_that_times_out_is_killed_and_affects_no_other_task(runner):
    events = []
    hanging = Task(key="0", function=tasks.hang, argument=None, timeout_seconds=3.0)
    others = [
        Task(key=str(number), function=tasks.double, argument=number, timeout_seconds=600) for number in range(1, 5)
    ]
    runner.run([hanging, *others], events.append)  # which returns, although the task never does
    assert of(events, 0) == [Started(key="0"), Emitted(key="0", message="before"), TimedOut(key="0", seconds=3.0)]
    assert [of(events, number)[-1].value for number in range(1, 5)] == [2, 4, 6, 8]
    assert run(runner, (tasks.double, 5))[-1] == Done(key="0", value=10)


def test_the_timeout_counts_from_the_start_and_not_while_events_are_handled(runner):
    def handle(event):
        events.append(event)
        if isinstance(event, Emitted):
            time.sleep(0.4)

    events = []
    runner.run([Task(key="a", function=tasks.double, argument=1, timeout_seconds=60)], handle)
    assert events[-1] == Done(key="a", value=2)


def test_sys_exit_in_a_task_is_an_error_of_the_task(runner):
    events = run(runner, (tasks.exit_politely, 3), (tasks.double, 1))
    assert isinstance(of(events, 0)[-1], Raised)
    assert isinstance(of(events, 0)[-1].error, SystemExit)
    assert of(events, 1)[-1] == Done(key="1", value=2)


def test_an_exhausted_iterator_of_tasks_is_asked_again_when_a_task_has_ended():
    class Again:
        """Iterator that gives the first task, nothing while it runs, and the second after its end."""

        def __init__(self):
            self.ready = ["first", "other"]

        def __iter__(self):
            return self

        def __next__(self):
            if not self.ready:
                raise StopIteration
            return Task(key=self.ready.pop(0), function=tasks.wait_for, argument=0.3)

    def handle(event):
        ended.append((event.key, time.monotonic()))
        if isinstance(event, Done) and event.key == "first":
            again.ready.append("second")

    again, ended = Again(), []
    with LocalRunner(2) as runner:
        runner.run(again, handle)
    assert {key for key, _ in ended} == {"first", "other", "second"}


def test_a_task_of_two_slots_runs_without_another_at_the_same_time():
    spans = {}

    def handle(event):
        if isinstance(event, Done):
            spans[event.key] = event.value

    ones = [Task(key=f"one-{number}", function=tasks.span, argument=0.2) for number in range(4)]
    two = Task(key="two", function=tasks.span, argument=0.2, num_slots=2)
    three = Task(key="three", function=tasks.span, argument=0.2, num_slots=3)  # more than there are: all
    with LocalRunner(2) as runner:
        runner.run([ones[0], ones[1], two, ones[2], ones[3], three], handle)
    assert len(spans) == 6
    for wide in ("two", "three"):
        began, ended = spans[wide]
        assert all(other[1] <= began or other[0] >= ended for key, other in spans.items() if key != wide)


def test_a_runner_runs_again(runner):
    assert run(runner, (tasks.double, 1))[-1] == Done(key="0", value=2)
    assert run(runner, (tasks.double, 2))[-1] == Done(key="0", value=4)


def test_workers_are_reused_and_are_separate_processes(local):
    events = run(local, *[(tasks.process_id, None)] * 8)
    workers = {event.value for event in events if isinstance(event, Done)}
    assert 1 <= len(workers) <= 2
    assert os.getpid() not in workers


def test_workers_have_one_thread(local):
    (threads, _) = run(local, (tasks.threads_and_gpus, None))[-1].value
    assert threads == 1


def test_each_worker_has_its_own_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with LocalRunner() as runner:
        events = run(runner, *[(tasks.threads_and_gpus, None)] * 6)
        assert runner.num_slots == 2
    assert {event.value[1] for event in events if isinstance(event, Done)} <= {"3", "5"}


def test_a_task_of_two_slots_sees_both_gpus_and_only_chosen_ones(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,MIG-7")
    with LocalRunner(devices=["0", "MIG-7"]) as runner:
        assert runner.num_slots == 2
        events = []
        wide = Task(key="w", function=tasks.threads_and_gpus, argument=None, num_slots=2)
        narrow = [Task(key=str(number), function=tasks.threads_and_gpus, argument=None) for number in range(6)]
        runner.run([wide, *narrow], events.append)
    values = {event.key: event.value[1] for event in events if isinstance(event, Done)}
    assert values.pop("w") == "3,MIG-7"
    assert set(values.values()) <= {"3", "MIG-7"}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process to a core")
def test_without_gpus_workers_are_bound_to_the_chosen_cores():
    core = max(os.sched_getaffinity(0))
    with LocalRunner(devices=[str(core)]) as runner:
        assert runner.num_slots == 1
        assert run(runner, (tasks.cores, None))[-1].value == {core}
    assert len(os.sched_getaffinity(0)) >= 1


def test_the_death_of_a_worker_whose_child_lives_on_is_noticed(local):
    started = time.monotonic()
    events = run(local, (tasks.die_with_child, None), (tasks.double, 1))
    assert time.monotonic() - started < 1800  # half of what its child sleeps
    assert isinstance(of(events, 0)[-1], Lost)
    (emitted,) = [event for event in of(events, 0) if isinstance(event, Emitted)]
    time.sleep(0.2)
    with contextlib.suppress(psutil.NoSuchProcess):  # its child ended with it; nobody may have collected it yet
        assert psutil.Process(emitted.message).status() == psutil.STATUS_ZOMBIE


def test_the_value_of_a_forked_child_is_not_taken_for_that_of_the_task(local):
    events = run(local, (tasks.fork_and_return, 7), (tasks.double, 1), (tasks.double, 2))
    assert [type(event) for event in of(events, 0)] == [Started, Emitted, Done]
    assert [of(events, key)[-1].value for key in range(3)] == [7, 2, 4]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_workers_ignore_signals_that_a_whole_job_gets(local, number):
    assert run(local, (tasks.signal_itself, number))[-1] == Done(key="0", value="still there")


@pytest.mark.parametrize(
    ("function", "argument", "reason"),
    [
        (tasks.die, signal.SIGKILL, "the worker process was ended by SIGKILL; the kernel does this when memory"),
        (tasks.die, signal.SIGSEGV, "the worker process was ended by SIGSEGV"),
        (tasks.leave, 7, "the worker process ended by itself with exit code 7"),
    ],
)
def test_a_worker_that_dies_costs_only_its_task(local, function, argument, reason):
    events = run(local, (tasks.double, 1), (function, argument), *[(tasks.double, number) for number in range(2, 6)])
    lost = of(events, 1)[-1]
    assert isinstance(lost, Lost)
    assert lost.reason.startswith(reason)
    assert [of(events, key)[-1].value for key in (0, 2, 3, 4, 5)] == [2, 4, 6, 8, 10]


def test_an_error_that_cannot_be_pickled_arrives_as_its_text(local):
    raised = run(local, (tasks.fail_with_odd_error, "odd"))[-1]
    assert isinstance(raised, Raised)
    assert str(raised.error) == "OddError: odd"


def test_the_prints_of_tasks_go_to_a_file_per_worker(local, tmp_path):
    local.redirect_output(tmp_path / "logs")
    run(local, (tasks.say, "hello"))
    assert (tmp_path / "logs" / "worker-0.log").read_text() == "hello\nhello from a child\n"


def has_ended(process_id):
    """Return True also for a zombie, which no parent has waited for yet."""
    return not psutil.pid_exists(process_id) or psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE


def test_leaving_the_block_stops_workers_and_waits_for_no_task():
    workers = []

    def interrupt(event):
        if isinstance(event, Emitted):
            workers.append(event.message)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), LocalRunner(1) as runner:
        runner.run([Task(key="a", function=tasks.tell_and_wait, argument=3600)], interrupt)
    assert [has_ended(worker) for worker in workers] == [True]


def test_workers_start_with_preloaded_modules_and_skip_broken_ones(tmp_path):
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "import tasks\n"
        "from experiments.runners import LocalRunner, Task\n"
        "if __name__ == '__main__':\n"
        "    events = []\n"
        "    with LocalRunner(1, preload=['absent', 'broken', 'mine']) as runner:\n"
        "        runner.run([Task(key='a', function=tasks.start_state, argument='mine')], events.append)\n"
        "    print(events[-1].value, 'mine' in sys.modules)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "mine.py").write_text("from experiments import run\n")
    command = [sys.executable, script, Path(tasks.__file__).parent]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(True, True, True) False\n", "")


def test_workers_do_not_outlive_a_killed_command(tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import tasks\n"
        "from experiments.runners import LocalRunner, Emitted, Task\n"
        "def tell(event):\n"
        "    if isinstance(event, Emitted):\n"
        "        print(event.message, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    with LocalRunner(1) as runner:\n"
        "        runner.run([Task(key='a', function=tasks.tell_and_wait, argument=3600)], tell)\n"
    )
    support = str(Path(tasks.__file__).parent)
    script = tmp_path / "script.py"
    script.write_text(code)
    command = subprocess.Popen([sys.executable, script, support], stdout=subprocess.PIPE, text=True)
    worker = int(command.stdout.readline())
    assert not has_ended(worker)
    command.kill()
    command.wait()
    command.stdout.close()
    until = time.monotonic() + 600
    while not has_ended(worker):
        assert time.monotonic() < until
        time.sleep(0.02)

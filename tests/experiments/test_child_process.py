"""The channel to a child process: messages, prints, ends that are asked for and ends that are not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from experiments.child_process import ChildProcess, ask

SECONDS = 600  # longer than a busy machine needs


@pytest.fixture
def child():
    child = ChildProcess("echo_child", os.environ)
    yield child
    child.end()


def wait_until_gone(*process_ids):
    until = time.monotonic() + SECONDS
    while any(
        psutil.pid_exists(each) and psutil.Process(each).status() != psutil.STATUS_ZOMBIE for each in process_ids
    ):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_messages_arrive_in_order_and_whole(child):
    data = os.urandom(3 * 2**20)
    for number in range(100):
        child.send("echo", number, {"path": Path("a")})
    child.send("echo", data)
    assert [child.receive(SECONDS) for _ in range(100)] == [(number, {"path": Path("a")}) for number in range(100)]
    assert child.receive(SECONDS) == (data,)


def test_prints_go_to_the_log_and_not_between_messages(child):
    child.send("print", "hello")
    child.send("echo", 1)
    assert child.receive(SECONDS) == (1,)
    assert child.last_log_line() == "hello by a grandchild"
    assert child.end() != 0
    assert child.last_log_line() == "hello by a grandchild"


def test_a_child_finishes_its_work_after_the_end_of_its_input(child):
    child.send("echo", 1)
    child.close_input()
    assert [child.receive(SECONDS) for _ in range(4)] == [(1,), ("the input has ended",), None, None]
    assert child.end(SECONDS) == 0


def test_waiting_for_a_message_has_a_limit(child):
    with pytest.raises(TimeoutError, match="no answer for 0 s"):
        child.receive(0)
    child.send("hang")
    with pytest.raises(TimeoutError, match=r"no answer for 0.1 s"):
        child.receive(0.1)


def test_a_child_that_hangs_is_killed_with_its_children(child):
    child.send("ids")
    ids = child.receive(SECONDS)
    child.send("hang")
    child.send("echo", b"x" * 2**20)  # more than the pipe holds: nobody reads it
    assert child.end(0.2) == -signal.SIGKILL
    assert child.receive(SECONDS) is None
    wait_until_gone(*ids)


@pytest.mark.parametrize(("message", "code", "line"), [(("exit", 7), 7, ""), (("raise", "no"), 1, "RuntimeError: no")])
def test_a_child_that_dies_shows_as_the_end_of_its_messages(child, message, code, line):
    child.send(*message)
    child.send("echo", b"x" * 2**20)
    assert child.receive(SECONDS) is None
    assert child.end(SECONDS) == code
    assert child.last_log_line().endswith(line)


def test_ctrl_c_does_not_reach_a_child_and_the_death_of_the_command_ends_it():
    code = (
        "import os, signal; from experiments.child_process import ChildProcess\n"
        "child = ChildProcess('echo_child', os.environ)\n"
        "child.send('echo', child._process.pid)\n"
        "try:\n"
        "    print(*child.receive(600), flush=True)\n"
        "    signal.pause()\n"
        "except KeyboardInterrupt:\n"
        "    child.send('echo', 'alive')\n"
        "    print(*child.receive(600), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as command:
        child_id = int(command.stdout.readline())
        os.killpg(command.pid, signal.SIGINT)
        assert command.stdout.readline() == "alive\n"
    assert command.returncode == -signal.SIGKILL
    wait_until_gone(child_id)


def test_a_question_is_answered_by_everything_that_is_sent():
    assert ask("echo_child", "echo", 1, seconds=SECONDS) == [(1,), ("the input has ended",)]
    with pytest.raises(RuntimeError, match="RuntimeError: no"):
        ask("echo_child", "raise", "no", seconds=SECONDS)
    with pytest.raises(TimeoutError, match=r"no answer for 0.2 s"):
        ask("echo_child", "hang", seconds=0.2)

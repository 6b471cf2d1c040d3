"""Tasks as Ray tasks: on a cluster, or on a Ray of this machine that lives as long as the runner.

This process does not talk to Ray itself: when a cluster's head is gone, Ray ends the process that was connected to it
by force, and nothing could be said or recorded any more. Another process (ray_process.py) is connected, does what this
one writes to it, and what it hears comes back. It also keeps what Ray prints off the terminal.
"""

import contextlib
import importlib.util
import os
import pickle
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from experiments.child_process import ChildProcess, Message
from experiments.errors import RunnerError

from .contract import Done, Event, Lost, Raised, Said, Started, Task, TimedOut
from .devices import find_devices, has_gpu_driver, usable_cores
from .local import ALLOCATOR, ENVIRONMENT

_CONNECT_SECONDS = 90.0  # a Ray of this machine starts in 7 s, and in half a minute where other work is done
_STOP_SECONDS = 15.0
_BIG_BYTES = 64 * 1024  # an argument from this size on is kept for the next task, which often has the same one
_GONE = "RAY_gcs_rpc_server_reconnect_timeout_s"  # Ray waits a minute for a head that does not answer
_NOTHING = object()
_HOW_TO_INSTALL = '`uv sync --extra ray` in a checkout, or `pip install "ablation-suite[ray]"`'


class RayRunner:
    """As many slots as the cluster has GPUs, or else CPUs, which may change meanwhile.

    Arguments:
        address: HOST:PORT of the head of a cluster that this machine belongs to, or "auto" to find the one running
            here; by default the environment variable RAY_ADDRESS, and without it a Ray of this machine alone, which
            is stopped at the end and listens on the loopback address only.
        num_slots: how many slots instead, though the cluster may have fewer now: what has none waits in Ray.
        preload: modules that workers import first; those that are not installed are sent to the cluster's machines.

    Raises:
        RunnerError: from the first use on, when Ray is not installed, the address is wrong, or the cluster is gone.
    """

    def __init__(self, address: str | None = None, num_slots: int | None = None, preload: Sequence[str] = ()) -> None:
        if importlib.util.find_spec("ray") is None:
            raise RunnerError(f"--runner ray needs Ray, which is not installed: {_HOW_TO_INSTALL}")
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._wanted_slots = num_slots
        self._preload = list(preload)
        self._log_directory: Path | None = None
        self._connection: _RayConnection | None = None
        self._last_big: Any = _NOTHING
        self._num_given = 0

    def __enter__(self) -> Self:
        """The connection begins, and the caller need not wait for it."""
        self._connection = _RayConnection(self._settings(), self._address)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._connection is not None:
            self._connection.stop()
        self._connection = None
        self._last_big = _NOTHING

    @property
    def num_slots(self) -> int:
        """How many tasks are worked on at once, now; at least 1, though a cluster may be without for a while."""
        return self._wanted_slots or max(1, self._connected().num_slots)

    def log_to(self, directory: Path) -> None:
        """What tasks print goes to worker-HOST-PID.log in this folder where a worker sees it, else to Ray's logs."""
        directory.mkdir(parents=True, exist_ok=True)
        self._log_directory = directory.absolute()

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """See Runner.run."""
        busy: dict[int, Task] = {}
        try:
            self._run(iter(tasks), handle, busy)
        finally:
            if busy and self._connection is not None:  # after an error: nobody will ask what these would have said
                self._connection.drop()

    def _run(self, waiting: Iterator[Task], handle: Callable[[Event], None], busy: dict[int, Task]) -> None:
        connection = self._connected()
        while True:
            while (
                sum(task.num_slots for task in busy.values()) < self.num_slots
                and (task := next(waiting, None)) is not None
            ):
                self._num_given += 1
                busy[self._num_given] = task
                self._give(connection, self._num_given, task)
            if not busy:
                return
            message = connection.receive()
            if message[0] == "slots":
                continue
            event = _event(message, busy[message[1]].key)
            if not isinstance(event, Started | Said):
                del busy[message[1]]
            handle(event)

    def _give(self, connection: "_RayConnection", number: int, task: Task) -> None:
        logs = None if self._log_directory is None else _mark(self._log_directory)
        argument: bytes | None = None  # the same as the last big one
        if task.argument is not self._last_big:
            argument = pickle.dumps(task.argument)
            if len(argument) >= _BIG_BYTES:
                self._last_big = task.argument
        options = {
            "timeout": task.timeout_seconds,
            "num_slots": task.num_slots,
            "near": task.near_command,
            "logs": logs,
        }
        connection.send("give", number, pickle.dumps(task.function), argument, options)

    def _connected(self) -> "_RayConnection":
        if self._connection is None:
            raise RuntimeError("a RayRunner is used in a `with` block")
        self._connection.connect()
        return self._connection

    def _settings(self) -> dict[str, Any]:
        num_gpus = len(find_devices(None).gpus) if has_gpu_driver() else 0
        environment = ENVIRONMENT | {name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}
        return {
            "address": self._address,
            "num_cpus": self._wanted_slots or max(len(usable_cores()), num_gpus),
            "num_gpus": num_gpus,
            "num_slots": self._wanted_slots,
            "environment": environment
            | {name: value for name, value in os.environ.items() if name.startswith("ABLATE_")},
            "preload": self._preload,
            "directory": _mark(Path.cwd()),
            "sys_path": [str(Path(entry).absolute()) for entry in sys.path],
        }


def _mark(directory: Path) -> tuple[str, int]:
    """A folder, and what tells whether another machine has the same one under this path."""
    return str(directory), directory.stat().st_ino


def _event(message: Message, key: str) -> Event:
    kind, _, *content = message
    if kind == "started":
        return Started(key=key)
    if kind == "lost":
        return Lost(key=key, reason=content[0])
    if kind == "timed out":
        return TimedOut(key=key, seconds=content[0])
    value = pickle.loads(content[0])  # noqa: S301 -- written by our own worker
    if kind == "said":
        return Said(key=key, message=value)
    if kind == "done":
        return Done(key=key, value=value)
    return Raised(key=key, error=value, traceback=content[1])


class _RayConnection:
    """Connection to Ray, held by a child process (ray_process.py).

    num_slots: how many tasks Ray can work on at once, as of the last message.
    """

    def __init__(self, settings: dict[str, Any], address: str | None) -> None:
        self.num_slots = 0
        self._address = address
        self._is_connected = False
        self._num_drops = 0
        environment = os.environ | {
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run`, Ray would build an environment on each machine
            "RAY_USAGE_STATS_ENABLED": "0",
            _GONE: os.environ.get(_GONE, "20"),
        }
        if address is None:
            # All of this Ray's processes take its environment over. The name is Ray's; what it does on any system is
            # to keep a Ray to the loopback address. The token keeps the machine's other users out.
            environment |= settings["environment"] | {
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
            }
            environment.pop("RAY_ADDRESS", None)
            if not settings["num_gpus"]:
                environment["CUDA_VISIBLE_DEVICES"] = ""
        self._child = ChildProcess(f"{__package__}.ray_process", environment)
        self.send("settings", settings)

    def connect(self) -> None:
        """Wait until the cluster has answered."""
        if not self._is_connected:
            self._is_connected = self.receive(_CONNECT_SECONDS)[0] == "slots"

    def send(self, *message: Any) -> None:
        """Send a message to the child process. If it has ended, `receive` raises."""
        self._child.send(*message)

    def receive(self, seconds: float | None = None) -> Message:
        """Return the next message.

        Raises:
            RunnerError: if there is none within this time, the child has ended, or Ray has failed.
        """
        try:
            message = self._child.receive(seconds)
        except TimeoutError:
            raise RunnerError(f"{self._name()} did not answer within {seconds:g} s{self._last_log_line()}") from None
        if message is None:
            raise RunnerError(
                f"{self._name()} is gone; what had ended is recorded, and the same command continues with any runner"
                f"{self._last_log_line()}"
            )
        if message[0] == "failed":
            raise RunnerError(f"{self._name()}: {message[1]}")
        if message[0] == "slots":
            self.num_slots = message[1]
        return message

    def drop(self) -> None:
        """End all tasks by force, and discard their messages."""
        self._num_drops += 1
        self.send("drop", self._num_drops)
        with contextlib.suppress(RunnerError):
            while self.receive(_STOP_SECONDS)[:2] != ("dropped", self._num_drops):
                pass

    def stop(self) -> None:
        """End the child process, its tasks, and a Ray that it has started."""
        self._child.end(_STOP_SECONDS)

    def _name(self) -> str:
        return "the Ray of this machine" if self._address is None else f"the Ray cluster at {self._address}"

    def _last_log_line(self) -> str:
        line = self._child.last_log_line()
        return f"\nRay said: {line}" if line else ""

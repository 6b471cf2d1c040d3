"""Runner that sends tasks to Ray: to a cluster, or to a local Ray that lives as long as the runner.

A child process (ray_process.py) holds the connection to Ray. When the head of a cluster is gone, Ray kills the
connected process, and the command must still record and report. The child also keeps Ray's output off the terminal.
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

from .contract import Done, Emitted, Event, Lost, Raised, Started, Task, TimedOut
from .devices import find_cores, find_devices, has_gpu_driver
from .local import ALLOCATOR, ENVIRONMENT

_CONNECT_SECONDS = 90.0  # a local Ray starts in 7 s, on a busy machine in 30 s
_STOP_SECONDS = 15.0
_BIG_BYTES = 64 * 1024  # larger arguments are kept for the next task, which often has the same
_HEAD_TIMEOUT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # Ray's default is a minute
_NOTHING = object()
_HOW_TO_INSTALL = '`uv sync --extra ray` in a checkout, or `pip install "ablation-suite[ray]"`'


class RayRunner:
    """Runner with one slot per GPU of the cluster, or per CPU of a cluster without GPUs. Their number may change.

    Args:
        address: HOST:PORT of the head of a cluster that this machine belongs to, or "auto" to find a cluster on this
            machine. The default is the environment variable RAY_ADDRESS. Without an address, a local Ray is started,
            which listens on the loopback address only and is stopped at the end.
        num_slots: number of slots instead; tasks for which the cluster has no room wait in Ray.
        preload: modules that workers import first; those that are not installed are sent to the cluster's machines.

    Raises:
        RunnerError: in any method, if Ray is not installed, the address is wrong, or the cluster is gone.
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
        self._num_submitted = 0

    def __enter__(self) -> Self:
        """Start to connect, without waiting for the cluster."""
        self._connection = _RayConnection(self._make_settings(), self._address)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.stop()
        self._connection = None
        self._last_big = _NOTHING

    @property
    def num_slots(self) -> int:
        """Return how many tasks can run at once now; at least 1, though a cluster may have no slot for a while."""
        return self._wanted_slots or max(1, self._connect().num_slots)

    def redirect_output(self, directory: Path) -> None:
        """Write stdout and stderr to worker-HOST-PID.log in this folder; on machines without it, to Ray's logs."""
        directory.mkdir(parents=True, exist_ok=True)
        self._log_directory = directory.absolute()

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """See Runner.run."""
        busy: dict[int, Task] = {}
        try:
            self._run(iter(tasks), handle, busy)
        finally:
            if busy and self._connection is not None:  # after an error
                self._connection.drop()

    def _run(self, waiting: Iterator[Task], handle: Callable[[Event], None], busy: dict[int, Task]) -> None:
        connection = self._connect()
        while True:
            while (
                sum(task.num_slots for task in busy.values()) < self.num_slots
                and (task := next(waiting, None)) is not None
            ):
                self._num_submitted += 1
                busy[self._num_submitted] = task
                self._submit(connection, self._num_submitted, task)
            if not busy:
                return
            message = connection.receive()
            if message[0] == "slots":
                continue
            event = _make_event(message, busy[message[1]].key)
            if not isinstance(event, Started | Emitted):
                del busy[message[1]]
            handle(event)

    def _submit(self, connection: "_RayConnection", number: int, task: Task) -> None:
        logs = None if self._log_directory is None else _identify_folder(self._log_directory)
        argument: bytes | None = None  # the last big one
        if task.argument is not self._last_big:
            argument = pickle.dumps(task.argument)
            if len(argument) >= _BIG_BYTES:
                self._last_big = task.argument
        options = {
            "timeout": task.timeout_seconds,
            "num_slots": task.num_slots,
            "prefer_local_machine": task.prefer_local_machine,
            "logs": logs,
        }
        connection.send("submit", number, pickle.dumps(task.function), argument, options)

    def _connect(self) -> "_RayConnection":
        if self._connection is None:
            raise RuntimeError("a RayRunner is used in a `with` block")
        self._connection.connect()
        return self._connection

    def _make_settings(self) -> dict[str, Any]:
        num_gpus = len(find_devices(None).gpus) if has_gpu_driver() else 0
        environment = ENVIRONMENT | {name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}
        return {
            "address": self._address,
            "num_cpus": self._wanted_slots or max(len(find_cores()), num_gpus),
            "num_gpus": num_gpus,
            "num_slots": self._wanted_slots,
            "environment": environment
            | {name: value for name, value in os.environ.items() if name.startswith("ABLATE_")},
            "preload": self._preload,
            "directory": _identify_folder(Path.cwd()),
            "sys_path": [str(Path(entry).absolute()) for entry in sys.path],
        }


def _identify_folder(directory: Path) -> tuple[str, int]:
    """Return a folder's path and inode, by which a worker sees whether its machine shares the folder."""
    return str(directory), directory.stat().st_ino


def _make_event(message: Message, key: str) -> Event:
    kind, _, *content = message
    if kind == "started":
        return Started(key=key)
    if kind == "lost":
        return Lost(key=key, reason=content[0])
    if kind == "timed out":
        return TimedOut(key=key, seconds=content[0])
    value = pickle.loads(content[0])  # noqa: S301 -- written by our own worker
    if kind == "said":
        return Emitted(key=key, message=value)
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
            _HEAD_TIMEOUT: os.environ.get(_HEAD_TIMEOUT, "20"),
        }
        if address is None:
            # All processes of this Ray inherit the environment. On any system, the first variable restricts Ray to the
            # loopback address. The token keeps other users of the machine out.
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
        """Wait for the first answer of the cluster."""
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
            raise RunnerError(
                f"{self._describe_cluster()} did not answer within {seconds:g} s{self._format_last_log_line()}"
            ) from None
        if message is None:
            raise RunnerError(
                f"{self._describe_cluster()} is gone; recorded results are kept, and the same command continues with "
                f"any runner{self._format_last_log_line()}"
            )
        if message[0] == "failed":
            raise RunnerError(f"{self._describe_cluster()}: {message[1]}")
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

    def _describe_cluster(self) -> str:
        return "the local Ray" if self._address is None else f"the Ray cluster at {self._address}"

    def _format_last_log_line(self) -> str:
        line = self._child.last_log_line()
        return f"\nlast line of Ray's log: {line}" if line else ""

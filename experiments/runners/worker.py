"""Worker process of the local runner: its handle in the command, and the code that it runs.

It leads its own process group, so that all processes that a task starts (a DataLoader's workers, the other ranks of a
trial on several devices) end with it, however it ends.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import parent_process
from pathlib import Path
from typing import Any

from .contract import Done, Emitted, Event, Lost, Raised, Task, TimedOut
from .devices import Devices


class Worker:
    """Handle of a worker process in the command.

    Args:
        context: start method of processes.
        slots: the runner's slots that it fills.
        devices: devices that it may use.
    """

    def __init__(self, context: ForkServerContext | SpawnContext, slots: tuple[int, ...], devices: Devices) -> None:
        self.slots = slots
        self.connection, theirs = context.Pipe()
        self._task: Task | None = None
        self._deadline: float | None = None
        # Not a daemon: those may have no children, and a DataLoader with workers has some. It ends with the command.
        self._process = context.Process(target=_serve, args=(theirs, devices, list(sys.path)))
        self._process.start()
        theirs.close()

    @property
    def sentinel(self) -> int:
        """Return the handle that is ready when the process has ended; a task's child may still hold the connection."""
        return self._process.sentinel

    def is_alive(self) -> bool:
        """Return True if it can take a task."""
        return self._process.is_alive()

    def start_task(self, task: Task, log_path: Path | None) -> None:
        """Send a task to the process, which appends what the task prints to this file."""
        self._task, self._deadline = task, None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died while idle: `take_event` says how
            self.connection.send((task.function, task.argument, log_path))

    def get_seconds_left(self) -> float | None:
        """Return the seconds until its task times out; None without a timeout, or before the task has started."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def take_event(self) -> Event | None:
        """Return the next event without waiting; None where there is none."""
        assert self._task is not None
        key = self._task.key
        try:
            if not self.connection.poll():
                return self._check_silence(self._task)
            kind, *content = self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):  # it died, perhaps in the middle of a message
            self._process.join(_EXIT_SECONDS)
            return self._make_lost(key)
        if kind == "started":
            if self._task.timeout_seconds is not None:
                self._deadline = time.monotonic() + self._task.timeout_seconds
            return None
        if kind == "emitted":
            return Emitted(key=key, message=content[0])
        if kind == "done":
            return Done(key=key, value=content[0])
        return Raised(key=key, error=content[0], traceback=content[1])

    def _check_silence(self, task: Task) -> Event | None:
        if not self._process.is_alive():
            return self._make_lost(task.key)
        if self.get_seconds_left() == 0.0 and task.timeout_seconds is not None:
            return TimedOut(key=task.key, seconds=task.timeout_seconds)
        return None

    def _make_lost(self, key: str) -> Lost:
        return Lost(key=key, reason=_describe_exit(self._process.exitcode))

    def stop(self) -> None:
        """Kill it and all processes that it started. It is not asked to stop: its task will be run again."""
        self._process.kill()
        if hasattr(os, "killpg") and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is gone, or does not exist yet
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        self.connection.close()


_EXIT_SECONDS = 30
"""For a process whose end of the connection is closed: the system takes a while to free a large one."""


def _serve(connection: Connection, devices: Devices, path: Sequence[str]) -> None:
    """Run tasks in the worker process until the command's end of the connection closes."""
    _set_up(connection, devices)
    sys.path[:] = path
    log_path = None
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            return
        connection.send(("started",))
        try:
            function, argument, wanted_log_path = pickle.loads(message)  # noqa: S301 -- from the command
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- the task's module cannot be imported
            connection.send(("raised", make_picklable(error), traceback.format_exc()))
            continue
        if wanted_log_path is not None and wanted_log_path != log_path:
            log_path = wanted_log_path
            redirect_output(log_path)
        _run_task(connection, function, argument)


def _run_task(connection: Connection, function: Any, argument: Any) -> None:
    process = os.getpid()

    def send(*content: Any) -> None:
        # A task may fork, and its child may return into this loop, as a second worker on the same connection.
        if os.getpid() != process:
            os._exit(0)
        connection.send(content)

    try:
        value = function(argument, lambda message: send("emitted", message))
        send("done", value)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- sent to the command as an event
        send("raised", make_picklable(error), traceback.format_exc())
    except KeyboardInterrupt:  # the task was asked to stop, as by SIGTERM
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def _set_up(connection: Connection, devices: Devices) -> None:
    # A DataLoader's workers use the system's default start method: from a fork server each would import torch.
    multiprocessing.set_start_method(None, force=True)
    # Ctrl-C reaches every process of a terminal, and a cluster's SIGTERM every process of a job, but only the command
    # acts on them. SIGTERM has a handler and is not ignored, since programs that a task starts would inherit that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _ignore_termination(os.getpid())
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=connection.close)  # else it stays open as long as such a child lives
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if devices.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices.gpus)
    if devices.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, devices.cores)


def _ignore_termination(worker: int) -> None:
    def handle(number: int, frame: Any) -> None:  # noqa: ARG001 -- signature of a signal handler
        if os.getpid() != worker:  # a forked child: it ends as any process does
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handle)


def _exit_with_parent() -> None:
    """Exit when the command has ended, however it ended."""
    parent = parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def redirect_output(path: Path) -> None:
    """Append this process's standard output and error, also of native code, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def make_picklable(error: BaseException) -> BaseException:
    """Return the error itself if it can be pickled and unpickled, else a RuntimeError with its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- made here
    except Exception:  # noqa: BLE001 -- anything may happen in a user's exception class
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _describe_exit(exit_code: int | None) -> str:
    if exit_code is None:
        return "the worker process closed its connection and did not end"
    if exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else f"signal {-exit_code}"
        hint = "; the kernel does this when memory runs out" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended by itself with exit code {exit_code}"

"""One warm worker process: as the command sees it, and what it does.

It leads a process group of its own, so that whatever a task starts (a DataLoader's workers, the other ranks of a trial
on several devices) ends with it, however it ends.
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

from .contract import Done, Event, Lost, Raised, Said, Task, TimedOut
from .devices import Devices


class Worker:
    """One warm process, seen from the command.

    Arguments:
        context: how processes are started.
        slots: the runner's slots that it stands for.
        devices: what it may use.
    """

    def __init__(self, context: ForkServerContext | SpawnContext, slots: tuple[int, ...], devices: Devices) -> None:
        self.slots = slots
        self.connection, theirs = context.Pipe()
        self._task: Task | None = None
        self._deadline: float | None = None
        # Not a daemon, which may have no children: a DataLoader with workers has. It ends with the command anyway.
        self._process = context.Process(target=_work, args=(theirs, devices, list(sys.path)))
        self._process.start()
        theirs.close()

    @property
    def sentinel(self) -> int:
        """Ready once the process is gone. The connection may stay open then: what a task started may hold its end."""
        return self._process.sentinel

    def is_alive(self) -> bool:
        """Whether it can take a task."""
        return self._process.is_alive()

    def give(self, task: Task, log_path: Path | None) -> None:
        """Have it work on a task, and print to the end of this file."""
        self._task, self._deadline = task, None
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # a worker that died while idle: `take` tells how
            self.connection.send((task.function, task.argument, log_path))

    def seconds_left(self) -> float | None:
        """Until its task has taken too long; None when it may take any time, or has not begun."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def take(self) -> Event | None:
        """The next event, without waiting; None when there is none to tell of."""
        assert self._task is not None
        key = self._task.key
        try:
            if not self.connection.poll():
                return self._without_word(self._task)
            kind, *content = self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):  # it died, perhaps in the middle of a message
            self._process.join(_SECONDS_TO_END)
            return self._lost(key)
        if kind == "began":
            if self._task.timeout_seconds is not None:
                self._deadline = time.monotonic() + self._task.timeout_seconds
            return None
        if kind == "said":
            return Said(key=key, message=content[0])
        if kind == "done":
            return Done(key=key, value=content[0])
        return Raised(key=key, error=content[0], traceback=content[1])

    def _without_word(self, task: Task) -> Event | None:
        if not self._process.is_alive():
            return self._lost(task.key)
        if self.seconds_left() == 0.0 and task.timeout_seconds is not None:
            return TimedOut(key=task.key, seconds=task.timeout_seconds)
        return None

    def _lost(self, key: str) -> Lost:
        return Lost(key=key, reason=_how_it_ended(self._process.exitcode))

    def stop(self) -> None:
        """End it and all that it started: a trial in training is not worth waiting for, it will be trained again."""
        self._process.kill()
        if hasattr(os, "killpg") and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # gone with all it started; or no group yet
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        self.connection.close()


_SECONDS_TO_END = 30
"""For a process whose end of the connection is closed: a large one takes a while to be taken apart."""


def _work(connection: Connection, devices: Devices, path: Sequence[str]) -> None:
    """What a worker process does until the command's end of the connection closes."""
    _be_a_worker(connection, devices)
    sys.path[:] = path
    log_path = None
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            return
        connection.send(("began",))
        try:
            function, argument, wanted_log_path = pickle.loads(message)  # noqa: S301 -- from the command
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- the task's module cannot be imported here
            connection.send(("raised", sendable(error), traceback.format_exc()))
            continue
        if wanted_log_path is not None and wanted_log_path != log_path:
            log_path = wanted_log_path
            print_to(log_path)
        _send_outcome(connection, function, argument)


def _send_outcome(connection: Connection, function: Any, argument: Any) -> None:
    process = os.getpid()

    def send(*content: Any) -> None:
        # A task may fork, and its child may return into this loop: it would be a second worker at the same connection.
        if os.getpid() != process:
            os._exit(0)
        connection.send(content)

    try:
        value = function(argument, lambda message: send("said", message))
        send("done", value)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- told to the command as an event
        send("raised", sendable(error), traceback.format_exc())
    except KeyboardInterrupt:  # what a task raises when it was told to end
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def _be_a_worker(connection: Connection, devices: Devices) -> None:
    # A DataLoader's workers start as they do anywhere else on this system: from a fork server each would import torch.
    multiprocessing.set_start_method(None, force=True)
    # Ctrl-C reaches every process of a terminal, and a cluster's SIGTERM every process of a job; the command decides
    # what they mean. SIGTERM has a handler and is not ignored, since programs that a task starts would inherit that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_to_command(os.getpid())
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=connection.close)  # else it would seem open as long as such a child lives
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if devices.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices.gpus)
    if devices.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, devices.cores)


def _leave_to_command(worker: int) -> None:
    def handle(number: int, frame: Any) -> None:  # noqa: ARG001 -- the form of a signal handler
        if os.getpid() != worker:  # a child that was forked: it ends as any process does
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handle)


def _end_with_parent() -> None:
    """Do not outlive the command, however it ended: it would go on training for nobody."""
    parent = parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def print_to(path: Path) -> None:
    """Send this process's standard output and error, of native code too, to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def sendable(error: BaseException) -> BaseException:
    """The error itself where it can be pickled and built again, else its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- made here
    except Exception:  # noqa: BLE001 -- anything may happen in a user's exception class
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None:
        return "the worker process closed its connection and did not end"
    if exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else f"signal {-exit_code}"
        hint = "; the kernel does this when memory runs out" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended by itself with exit code {exit_code}"

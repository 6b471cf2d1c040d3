"""Tasks one after the other in this process: for debuggers, notebooks, and as the plainest case of the contract."""

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .contract import Done, Event, Raised, Said, Started, Task, TimedOut


class InlineRunner:
    """One slot: this process. What tasks print goes where this process prints.

    A task that takes too long is interrupted by an alarm, which Python can raise on the main thread only, and only
    where native code returns to it now and then; a process of its own, as the local runner has, ends in any case.
    """

    num_slots = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def log_to(self, directory: Path) -> None:
        """Prints stay on this process's terminal, where a debugger's user wants them."""

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """See Runner.run."""
        for task in tasks:
            handle(Started(key=task.key))
            handle(_outcome(task, handle))


def _outcome(task: Task, handle: Callable[[Event], None]) -> Event:
    of_handler: list[BaseException] = []
    process = os.getpid()
    alarm = _Alarm()

    def emit(message: Any) -> None:
        _end_if_forked(process)
        try:
            with alarm.held():
                handle(Said(key=task.key, message=message))
        except BaseException as error:
            if not isinstance(error, _TooLong):
                of_handler.append(error)
            raise

    try:
        with alarm.set(task.timeout_seconds):
            outcome: Event = Done(key=task.key, value=task.function(task.argument, emit))
    except _TooLong:
        outcome = TimedOut(key=task.key, seconds=task.timeout_seconds or 0.0)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- told to the caller as an event
        outcome = Raised(key=task.key, error=error, traceback=traceback.format_exc())
    finally:
        _end_if_forked(process)
    if of_handler:  # it came up through the task, but is none of the task's
        raise of_handler[0]
    return outcome


def _end_if_forked(process: int) -> None:
    """A child that a task forked and let return would go on as a second caller, with the same files open."""
    if os.getpid() != process:
        os._exit(0)


class _TooLong(BaseException):
    """Raised by the alarm; no Exception, which a task's own code might catch."""


class _Alarm:
    """Raises in the middle of a task, but not while its caller handles an event."""

    def __init__(self) -> None:
        self._is_held = False
        self._is_late = False

    @contextlib.contextmanager
    def set(self, seconds: float | None) -> Iterator[None]:
        """Raise `_TooLong` after so many seconds, where this thread can have an alarm."""
        if seconds is None or not hasattr(signal, "setitimer") or threading.current_thread() is not _MAIN:
            yield
            return
        before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let what is done meanwhile come to its end."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._is_late:
            raise _TooLong

    def _ring(self, number: int, frame: Any) -> None:
        self._is_late = True
        if not self._is_held:
            raise _TooLong


_MAIN = threading.main_thread()

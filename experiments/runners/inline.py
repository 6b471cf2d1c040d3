"""Tasks one after the other in this process: for debuggers, notebooks, and as the simplest case of the contract."""

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .contract import Done, Emitted, Event, Raised, Started, Task, TimedOut


class InlineRunner:
    """Runner with one slot: this process. What tasks print goes where this process prints.

    A task that exceeds its timeout is interrupted by an alarm. Python can raise it on the main thread only, and not
    inside native code that does not return to it. A separate process, as the local runner has, can always be killed.
    """

    num_slots = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def redirect_output(self, directory: Path) -> None:
        """Do nothing: stdout and stderr stay on the terminal of this process, where a debugger's user wants them."""

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """See Runner.run."""
        for task in tasks:
            handle(Started(key=task.key))
            handle(_run_task(task, handle))


def _run_task(task: Task, handle: Callable[[Event], None]) -> Event:
    handler_errors: list[BaseException] = []
    process = os.getpid()
    alarm = _Alarm()

    def emit(message: Any) -> None:
        _exit_if_forked(process)
        try:
            with alarm.delayed():
                handle(Emitted(key=task.key, message=message))
        except BaseException as error:
            if not isinstance(error, _AlarmRaised):
                handler_errors.append(error)
            raise

    try:
        with alarm.set(task.timeout_seconds):
            outcome: Event = Done(key=task.key, value=task.function(task.argument, emit))
    except _AlarmRaised:
        outcome = TimedOut(key=task.key, seconds=task.timeout_seconds or 0.0)
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- reported to the caller as an event
        outcome = Raised(key=task.key, error=error, traceback=traceback.format_exc())
    finally:
        _exit_if_forked(process)
    if handler_errors:  # it was raised through the task, but is not the task's
        raise handler_errors[0]
    return outcome


def _exit_if_forked(process: int) -> None:
    """Exit a child that a task forked and let return: it would be a second caller, with the same files open."""
    if os.getpid() != process:
        os._exit(0)


class _AlarmRaised(BaseException):
    """Timeout of a task; no Exception, which the task's code might catch."""


class _Alarm:
    """Alarm that raises in the middle of a task, but not while the caller handles an event."""

    def __init__(self) -> None:
        self._is_delayed = False
        self._has_rung = False

    @contextlib.contextmanager
    def set(self, seconds: float | None) -> Iterator[None]:
        """Raise `_AlarmRaised` after so many seconds, where this thread can have an alarm."""
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
    def delayed(self) -> Iterator[None]:
        """Delay the alarm to the end of the block."""
        self._is_delayed = True
        try:
            yield
        finally:
            self._is_delayed = False
        if self._has_rung:
            raise _AlarmRaised

    def _ring(self, number: int, frame: Any) -> None:
        self._has_rung = True
        if not self._is_delayed:
            raise _AlarmRaised


_MAIN = threading.main_thread()

"""Protocol of all runners: take a task whenever a slot is free, and hand its events to the caller, in its process.

A runner does not know what training is. A task is a function with one argument; it may `emit` messages while it runs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Call of `function(argument, emit)`, both importable or picklable. `key` identifies it in events.

    timeout_seconds: how long it may run before its worker is killed, which gives `TimedOut`; None for no limit.
        In a separate process a task can always be killed. A task in the caller's process (inline) is interrupted where
        Python can do it: on the main thread, not on Windows, and not inside native code that never returns.
    num_slots: number of slots that it takes at once; a task that trains on two devices takes two. A runner with fewer
        slots gives it all of them.
    near_command: prefer the machine of the command, whose files the task reads.
    """

    key: str
    function: Callable[[Any, Callable[[Any], None]], Any]
    argument: Any
    timeout_seconds: float | None = None
    num_slots: int = 1
    near_command: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Event: the task has its slots and starts."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """Event: the task emitted a message."""

    key: str
    message: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Event: the task returned a value."""

    key: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """Event: the task raised an error. `traceback` is its text in the worker."""

    key: str
    error: BaseException
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Event: the task's worker is gone: killed, out of memory, or crashed in native code."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """Event: the task ran longer than its `timeout_seconds`, and its worker was killed.

    seconds: the timeout.
    """

    key: str
    seconds: float


Event = Started | Emitted | Done | Raised | Lost | TimedOut


class Runner(Protocol):
    """Executor of tasks with a number of slots. Use it in a `with` block, whose end stops everything at once."""

    @property
    def num_slots(self) -> int:
        """Return the number of slots: of tasks that run at the same time. In a cluster it may change."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """Run all tasks, and return when each has ended.

        The next task is taken only when a slot is free, and only after `handle` has returned for all earlier events.
        Each task gives Started, any number of Emitted, and exactly one of Done, Raised, Lost and TimedOut. An error
        that `handle` raises, and KeyboardInterrupt, end the run. `sys.exit` in a task is an error of the task.

        An iterator of tasks may continue after its end: a runner with several slots asks it again whenever a task has
        ended, so that a requeued task gets a slot while others are still running.
        """

    def log_to(self, directory: Path) -> None:
        """Send what tasks print from now on to files in this folder, if the runner can."""

"""Protocol of all runners: start a task whenever a slot is free.

A task is a call `function(argument, emit)`. `function` must be importable, `argument` picklable. The task may `emit`
messages while it runs. A runner calls the caller's `handle` with each event, in the caller's process. It does not know
what training is.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Call of `function(argument, emit)`: `function` must be importable, `argument` picklable.

    key: identifies the task in events.
    timeout_seconds: seconds after which the task is stopped, which gives `TimedOut`; None for no limit. In a separate
        process a task can always be killed. A task in the caller's process (inline) is interrupted where Python can do
        it: on the main thread, not on Windows, and not inside native code that never returns.
    num_slots: number of slots that the task occupies; a task that trains on two devices occupies two. If the runner has
        fewer slots, the task occupies all of them.
    prefer_local_machine: prefer the machine on which `ablate` runs, because the task reads files there.
    """

    key: str
    function: Callable[[Any, Callable[[Any], None]], Any]
    argument: Any
    timeout_seconds: float | None = None
    num_slots: int = 1
    prefer_local_machine: bool = False


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
    """Event: the task ran longer than its `timeout_seconds`.

    The task was stopped: its worker was killed or, inline, the call was interrupted.

    seconds: the timeout.
    """

    key: str
    seconds: float


Event = Started | Emitted | Done | Raised | Lost | TimedOut


class Runner(Protocol):
    """Executor of tasks with a number of slots. Use it in a `with` block, whose end stops everything at once."""

    @property
    def num_slots(self) -> int:
        """Return the number of slots. Running tasks occupy at most this many in total. In a cluster it may change."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """Run all tasks, and return when each has ended.

        The next task is taken only when a slot is free, and only after `handle` has returned for all earlier events.
        Each task gives Started, any number of Emitted, and exactly one of Done, Raised, Lost and TimedOut. An error
        that `handle` raises, and KeyboardInterrupt, end the run. `sys.exit` in a task is an error of the task.

        `tasks` may yield again after StopIteration: after each ended task, `next` is called again, so requeued tasks
        can start. A generator cannot do this; use a class with `__next__`.
        """

    def redirect_output(self, directory: Path) -> None:
        """Write the tasks' stdout and stderr to files in this folder. InlineRunner ignores it."""

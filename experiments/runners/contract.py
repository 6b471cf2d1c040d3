"""What every runner does: take tasks one by one as slots come free, and tell what happens, in the caller's process.

A runner knows nothing of training. A task is a function with one argument; it may `emit` messages while it works.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work: `function(argument, emit)`, both importable or picklable. `key` names it in events.

    timeout_seconds: how long it may work before its slot is ended, which gives `TimedOut`; None for ever.
        In a process of its own a task ends whatever it does. A task in the caller's own process (inline) is interrupted
        where Python lets it be: on the main thread, not on Windows, and not inside native code that never returns.
    num_slots: how many slots it takes at once, as one that trains on two devices takes two; a runner that has fewer
        gives it all it has.
    near_command: whether it had better run on the machine of the command, whose files it reads.
    """

    key: str
    function: Callable[[Any, Callable[[Any], None]], Any]
    argument: Any
    timeout_seconds: float | None = None
    num_slots: int = 1
    near_command: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The task has a slot and begins."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The task emitted a message."""

    key: str
    message: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The task returned a value."""

    key: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The task raised. `traceback` is its text where it happened."""

    key: str
    error: BaseException
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The slot where the task ran is gone: killed, out of memory, or crashed in native code."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """The task worked longer than its `timeout_seconds`, and its slot was ended with it.

    seconds: what it was given.
    """

    key: str
    seconds: float


Event = Started | Said | Done | Raised | Lost | TimedOut


class Runner(Protocol):
    """Runs tasks in slots (processes, devices). Use it in a `with` block; leaving it stops everything at once."""

    @property
    def num_slots(self) -> int:
        """How many tasks are worked on at the same time; a cluster's may change meanwhile."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """Work through the tasks and return when all have ended.

        A task is asked for only when a slot is free, and only after `handle` has returned for everything that came
        before. Each task gives Started, any number of Said, and exactly one of Done, Raised, Lost and TimedOut. What
        `handle` raises, and KeyboardInterrupt, ends the run. `sys.exit` in a task is an error of the task like another.

        An iterator of tasks that ends may go on later: a runner with several slots asks again whenever something has
        ended, so that a task that was lost finds a slot while others are still being worked on.
        """

    def log_to(self, directory: Path) -> None:
        """From now on, what tasks print goes to files in this folder, where the runner can arrange it."""

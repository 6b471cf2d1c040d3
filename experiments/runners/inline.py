"""Tasks one after the other in this process: for debuggers, notebooks, and as the plainest case of the contract."""

import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .contract import Done, Event, Raised, Said, Started, Task


class InlineRunner:
    """One place: this process. What tasks print goes where this process prints."""

    num_places = 1

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

    def emit(message: Any) -> None:
        try:
            handle(Said(key=task.key, message=message))
        except BaseException as error:
            of_handler.append(error)
            raise

    try:
        outcome: Event = Done(key=task.key, value=task.function(task.argument, emit))
    except Exception as error:  # noqa: BLE001 -- told to the caller as an event
        outcome = Raised(key=task.key, error=error, traceback=traceback.format_exc())
    if of_handler:  # it came up through the task, but is none of the task's
        raise of_handler[0]
    return outcome

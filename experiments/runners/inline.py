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
    def emit(message: Any) -> None:
        handle(Said(key=task.key, message=message))

    try:
        return Done(key=task.key, value=task.function(task.argument, emit))
    except Exception as error:  # noqa: BLE001 -- told to the caller as an event
        return Raised(key=task.key, error=error, traceback=traceback.format_exc())

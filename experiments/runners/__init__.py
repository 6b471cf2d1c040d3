"""How tasks get onto processes and devices. Runners know nothing of training."""

from .contract import Done, Event, Lost, Raised, Runner, Said, Started, Task, TimedOut
from .inline import InlineRunner
from .local import LocalRunner

__all__ = [
    "Done",
    "Event",
    "InlineRunner",
    "LocalRunner",
    "Lost",
    "Raised",
    "Runner",
    "Said",
    "Started",
    "Task",
    "TimedOut",
]

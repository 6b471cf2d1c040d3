"""How tasks get onto processes and devices. Runners know nothing of training."""

from .contract import Done, Event, Lost, Raised, Runner, Said, Started, Task, TimedOut
from .inline import InlineRunner
from .local import LocalRunner
from .ray import RayRunner

__all__ = [
    "Done",
    "Event",
    "InlineRunner",
    "LocalRunner",
    "Lost",
    "Raised",
    "RayRunner",
    "Runner",
    "Said",
    "Started",
    "Task",
    "TimedOut",
]

"""Runners, which execute tasks in processes, on devices and on machines. They do not know what training is."""

from .contract import Done, Emitted, Event, Lost, Raised, Runner, Started, Task, TimedOut
from .inline import InlineRunner
from .local import LocalRunner
from .ray import RayRunner

__all__ = [
    "Done",
    "Emitted",
    "Event",
    "InlineRunner",
    "LocalRunner",
    "Lost",
    "Raised",
    "RayRunner",
    "Runner",
    "Started",
    "Task",
    "TimedOut",
]

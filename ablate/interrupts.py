"""Ctrl-C while modules are imported: the command exits at once."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from .exit_codes import ExitCode


def exit_interrupted(*_: Any) -> NoReturn:
    """Exit at once: an exception within an import, as NumPy's, may become another one."""
    sys.stderr.write("ablate: interrupted\n")
    sys.stderr.flush()
    os._exit(ExitCode.INTERRUPTED)


@contextlib.contextmanager
def exiting_on_interrupt() -> Iterator[None]:
    """Exit at once on Ctrl-C in the block; where Ctrl-C is ignored, as under nohup, it stays ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, exit_interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

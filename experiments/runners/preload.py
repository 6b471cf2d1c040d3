"""The only module that a fork server imports: it imports those that the command names, and gets ready to be forked.

They are thousands of modules, and nothing of them is garbage, so looking for some meanwhile is a tenth of the time.
Set aside (`gc.freeze`), they are also never looked at in a worker, whose memory then stays shared with the others.
"""

import atexit
import contextlib
import gc
import importlib
import os
import signal
import sys

from .local import PRELOAD


def _import(names: list[str]) -> None:
    atexit.register(_end)
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in the middle: end, without a traceback
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # what was pressed earlier counts now
    gc.disable()
    for name in names:
        with contextlib.suppress(Exception):  # planning will say in full what is wrong with it
            importlib.import_module(name)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, on_interrupt)


def _end() -> None:
    """Leave at once: taking all modules apart takes seconds, in which whoever reads the command's output waits."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if PRELOAD in os.environ:  # else this is not a fork server
    _import(os.environ.pop(PRELOAD).split(","))

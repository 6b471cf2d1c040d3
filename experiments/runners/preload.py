"""Start-up module of the fork server: it imports the modules that the command names, before workers are forked.

They are thousands of modules without any garbage, so collecting it during the imports would take a tenth of the time.
After `gc.freeze` no worker's collector visits them either, so the workers' memory stays shared.
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
    atexit.register(_exit)
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports: exit without a traceback
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # an earlier Ctrl-C takes effect now
    gc.disable()
    for name in names:
        with contextlib.suppress(Exception):  # planning reports the error in full
            importlib.import_module(name)
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, on_interrupt)


def _exit() -> None:
    """Exit at once: finalising all modules takes seconds, during which the reader of the command's output waits."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if PRELOAD in os.environ:  # else this is not a fork server
    _import(os.environ.pop(PRELOAD).split(","))

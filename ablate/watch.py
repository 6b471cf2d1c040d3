"""`ablate status --watch`: how a study is going, shown anew from another terminal until it is complete."""

import contextlib
import io
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from experiments.ledger.study_folder import is_in_use, open_ledger
from experiments.trials.trial import TrialStatus

from .output import print_status, status_line

SECONDS_BETWEEN_LOOKS = 1.0


def watch(directory: Path, console: Console) -> None:
    """Return once nothing is pending and no command is at work, or on Ctrl-C.

    A terminal shows the whole of `ablate status` and keeps it up to date; elsewhere each change is a line.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
    """
    with contextlib.suppress(KeyboardInterrupt):  # who watches has seen enough; nothing was interrupted
        if console.is_terminal:
            _watch_live(directory, console)
        else:
            _watch_lines(directory, console)


def _watch_live(directory: Path, console: Console) -> None:
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            text, is_over = _status(directory, console.width)
            live.update(text, refresh=True)
            if is_over:
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _watch_lines(directory: Path, console: Console) -> None:
    last = ""
    while True:
        is_running = is_in_use(directory)
        with open_ledger(directory) as ledger:
            counts = ledger.counts()
        line = status_line(counts) + ("" if is_running else "; no command is running")
        if line != last:
            console.print(line, soft_wrap=True)
            last = line
        if not is_running and not counts[TrialStatus.PENDING] + counts[TrialStatus.RUNNING]:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _status(directory: Path, width: int) -> tuple[Text, bool]:
    """What `ablate status` prints now, and whether it will not change any more."""
    is_running = is_in_use(directory)
    printed = Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False)
    with open_ledger(directory) as ledger:
        print_status(ledger, is_running, printed)
        counts = ledger.counts()
    if not is_running and counts[TrialStatus.PENDING] + counts[TrialStatus.RUNNING]:
        printed.print("no command is running; this waits for one (Ctrl-C ends it)")
    assert isinstance(printed.file, io.StringIO)
    is_over = not is_running and not counts[TrialStatus.PENDING] + counts[TrialStatus.RUNNING]
    return Text.from_ansi(printed.file.getvalue().rstrip("\n")), is_over

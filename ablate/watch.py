"""`ablate status --watch`: status of a study, updated until the study is complete."""

import contextlib
import io
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from experiments.ledger.study_folder import is_in_use, open_ledger
from experiments.trials.trial import TrialStatus

from .output import format_status, print_status

INTERVAL_SECONDS = 1.0


def watch_status(directory: Path, console: Console) -> None:
    """Print the status until no trial is pending and no command is running, or until Ctrl-C.

    A terminal shows the output of `ablate status` and updates it; other outputs get a line for each change.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
    """
    with contextlib.suppress(KeyboardInterrupt):  # ends the watching, and interrupts no training
        if console.is_terminal:
            _watch_live(directory, console)
        else:
            _watch_lines(directory, console)


def _watch_live(directory: Path, console: Console) -> None:
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            text, is_over = _render_status(directory, console.width)
            live.update(text, refresh=True)
            if is_over:
                return
            time.sleep(INTERVAL_SECONDS)


def _watch_lines(directory: Path, console: Console) -> None:
    last = ""
    while True:
        is_running = is_in_use(directory)
        with open_ledger(directory) as ledger:
            counts = ledger.counts()
        line = format_status(counts) + ("" if is_running else "; no command is running")
        if line != last:
            console.print(line, soft_wrap=True)
            last = line
        if not is_running and not counts[TrialStatus.PENDING] + counts[TrialStatus.RUNNING]:
            return
        time.sleep(INTERVAL_SECONDS)


def _render_status(directory: Path, width: int) -> tuple[Text, bool]:
    """Return the output of `ablate status`, and True if it is final."""
    is_running = is_in_use(directory)
    printed = Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False)
    with open_ledger(directory) as ledger:
        print_status(ledger, is_running, printed)
        counts = ledger.counts()
    if not is_running and counts[TrialStatus.PENDING] + counts[TrialStatus.RUNNING]:
        printed.print("no command is running; waiting for one (Ctrl-C stops)")
    assert isinstance(printed.file, io.StringIO)
    is_over = not is_running and not counts[TrialStatus.PENDING] + counts[TrialStatus.RUNNING]
    return Text.from_ansi(printed.file.getvalue().rstrip("\n")), is_over

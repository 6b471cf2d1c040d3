"""Terminal output of the commands."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console() -> "Console":
    """Return the console for standard output: numbers are not coloured, and a closed pipe raises BrokenPipeError."""
    from rich.console import Console

    class QuietConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; `main` exits with 0

    return QuietConsole(highlight=False)


def print_line(console: "Console", line: str) -> None:
    """Print a line without markup or emoji names. The terminal wraps it, so that paths can be copied."""
    console.print(line, markup=False, emoji=False, soft_wrap=True)

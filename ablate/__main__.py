"""Entry point of the command `ablate`. Ctrl-C prints no traceback, also during imports."""

import sys

from .exit_codes import ExitCode
from .interrupts import exit_interrupted, exiting_on_interrupt


def main() -> int:
    """Run one command and return its exit code."""
    try:
        with exiting_on_interrupt():
            from ablation_suite.names import NameClashError

            try:
                from ablate.commands import main as run_command
            except NameClashError as error:
                sys.stderr.write(f"ablate: {error}\n")
                return ExitCode.WRONG_INPUT
        return run_command()
    except KeyboardInterrupt:  # between the handlers of commands
        exit_interrupted()


if __name__ == "__main__":
    sys.exit(main())

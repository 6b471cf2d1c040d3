"""Entry point of the command `ablate`: Ctrl-C is quiet from here on, while `ablate.commands` is imported too."""

import signal
import sys

from .exit_codes import ExitCode, exit_interrupted


def main() -> int:
    """Run one command and return its exit code."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else Ctrl-C is ignored, as by nohup
    if is_usual:
        signal.signal(signal.SIGINT, exit_interrupted)
    from ablation_suite.names import NameClashError

    try:
        from ablate.commands import main as run_command
    except NameClashError as error:
        sys.stderr.write(f"ablate: {error}\n")
        return ExitCode.WRONG_INPUT
    try:
        if is_usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run_command()
    except KeyboardInterrupt:  # outside of what a command does
        exit_interrupted()


if __name__ == "__main__":
    sys.exit(main())

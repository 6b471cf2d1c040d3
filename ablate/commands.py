"""The command `ablate`. No logic: it reads arguments, calls, prints, and turns errors into exit codes."""

import argparse
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ablation_suite.names import find_clash
from experiments.errors import InputError

from .arguments import add_study, study_of
from .catalogue import add_catalogue
from .console import make_console, print_line
from .exit_codes import ExitCode, exit_code_text
from .gradcheck import add_gradcheck
from .run import add_run, print_report_of
from .wandb import add_mirror, add_wandb, make_mirror, read_wandb_options

if TYPE_CHECKING:
    from experiments.ledger.ledger import Ledger

_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # the disk is full or broken


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = argparse.Namespace()
    try:
        arguments = _parser().parse_args(argv)
        _look_in_current_folder()
        for name in ("SIGTERM", "SIGHUP"):  # a cluster's request, a closed terminal
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), _interrupt)
        command: Callable[[argparse.Namespace], int] = arguments.command
        code = command(arguments)
        print(end="", flush=True)  # noqa: T201 -- here, where an error is handled
    except InputError as error:
        print(f"ablate: {error}", file=sys.stderr)  # noqa: T201
        return ExitCode.WRONG_INPUT
    except KeyboardInterrupt:
        continues = "; the same command continues" if getattr(arguments, "continues", False) else ""
        print(f"ablate: interrupted{continues}", file=sys.stderr)  # noqa: T201
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        _discard_output()
        return ExitCode.DONE
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        _discard_output()
        print(f"ablate: output cannot be written: {error}", file=sys.stderr)  # noqa: T201
        return ExitCode.OUTPUT_ERROR
    else:
        return code


def _discard_output() -> None:
    """Send the rest of standard output to nowhere, so that Python can end without another error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _look_in_current_folder() -> None:
    """Find a user's own module.Class, as `python -m` does.

    Raises:
        InputError: when a file or package of the folder has the name of one of the suite's.
    """
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- sys.path holds texts
    if (clash := find_clash()) is not None:
        raise InputError(clash)


def _interrupt(number: int, frame: Any) -> NoReturn:  # noqa: ARG001 -- the form of a signal handler
    """The same as Ctrl-C."""
    raise KeyboardInterrupt


# ---- the commands --------------------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> int:
    from experiments.execution.options import RunOptions
    from experiments.execution.run import data_folder, grouped, make_runner, plan
    from experiments.ledger.study_folder import check_folder
    from reports import describe_power

    from .output import print_plan

    study = study_of(arguments)
    can_find = describe_power(study, arguments.pilot)  # before the seconds that the plan takes: a wrong pilot is told
    if arguments.out is not None:
        check_folder(arguments.out, study)
    options = RunOptions(runner="inline", data_dir=arguments.data_dir)
    with data_folder(options.data_dir), make_runner(options, [study]) as runner:
        planned = plan(study, runner)
        groups = grouped(planned.trials, runner, options.fuse)
    console = make_console()
    print_plan(study, groups, planned.notes, console)
    for line in can_find:
        print_line(console, f"- {line}")
    return ExitCode.DONE


def _trial(arguments: argparse.Namespace) -> int:
    from experiments.execution.run_trial import run_trial

    from .output import outcome_text

    study = study_of(arguments)
    console = make_console()
    directory = arguments.out or Path("runs") / study.name
    mirror = make_mirror(read_wandb_options(arguments), study, directory, console, is_one_of_many=True)
    sinks = [] if mirror is None else [mirror]
    with mirror or contextlib.nullcontext():
        outcome = run_trial(study, arguments.trial, directory, data_dir=arguments.data_dir, sinks=sinks)
        print_line(console, outcome_text(outcome, study.metric.name))
    return ExitCode.SOME_FAILED if outcome.has_failed else ExitCode.DONE


def _status(arguments: argparse.Namespace) -> int:
    from experiments.ledger.study_folder import is_in_use, open_ledger

    from .output import print_status

    if arguments.watch:
        from .watch import watch

        watch(arguments.directory, make_console())
        return ExitCode.DONE
    with open_ledger(arguments.directory) as ledger:
        print_status(ledger, is_in_use(arguments.directory), make_console())
    return ExitCode.DONE


def _retry(arguments: argparse.Namespace) -> int:
    from experiments.ledger.study_folder import lock_folder, open_ledger

    with open_ledger(arguments.directory):
        pass  # raises before a lock file is made
    with lock_folder(arguments.directory), open_ledger(arguments.directory, writable=True) as ledger:
        count = ledger.retry()
    again = "; `ablate run` trains them" if count else ""
    make_console().print(f"{count} failed trials are pending again{again}")
    return ExitCode.DONE


def _show(arguments: argparse.Namespace) -> int:
    from experiments.ledger.study_folder import open_ledger

    from .output import trial_text

    with open_ledger(arguments.directory) as ledger:
        sys.stdout.write(trial_text(ledger.trial(_trial_id(ledger, arguments.trial))))
    return ExitCode.DONE


def _trial_id(ledger: "Ledger", text: str) -> str:
    """The id of the planned trial that has these levels and seed; a text of another form is an id or its beginning.

    Raises:
        InputError: when no trial or more than one has them.
    """
    if "=" not in text:
        return text
    from experiments.execution.run_trial import find_trial
    from experiments.study.parse import parse_study

    return find_trial(ledger.planned(), text, parse_study(ledger.study_content(), source=str(ledger.path))).trial_id


def _report(arguments: argparse.Namespace) -> int:
    if arguments.other is None:
        print_report_of(arguments.directory, make_console())
        return ExitCode.DONE
    from reports import build_report, compare_reports, print_changes

    before, after = build_report(arguments.directory), build_report(arguments.other)
    names = (str(arguments.directory), str(arguments.other))
    print_changes(compare_reports(before, after), names, make_console(), after.study.metric.margin)
    return ExitCode.DONE


# ---- arguments -----------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ablate",
        description="Ablation studies for PyTorch Lightning: paired by seed, recorded in a ledger, given verdicts.",
        epilog=exit_code_text(),
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    add_catalogue(commands)

    check = commands.add_parser("check", help="validate a study and show its plan, without training")
    add_study(check)
    check.add_argument(
        "--pilot",
        type=Path,
        metavar="DIR",
        help="the folder of a finished run of this or a similar study: its spread tells how many seeds are needed",
    )
    check.set_defaults(command=_check)

    add_run(commands)

    trial = commands.add_parser(
        "trial", help="train one trial of a study and record it; any number of these may share a folder"
    )
    add_study(trial)
    trial.add_argument(
        "trial",
        metavar="TRIAL",
        help="a trial's id, or the beginning of it; or levels and seed, as in activation=relu,seed=3",
    )
    add_mirror(trial, "show the trial in Weights & Biases while it trains")
    trial.set_defaults(command=_trial, continues=True)

    for name, command, text in (
        ("status", _status, "counts by state, and how complete each cell is"),
        ("retry", _retry, "put failed trials back to pending"),
        ("report", _report, "write DIR/report/ and print the verdict table; with two folders, what changed"),
    ):
        plain = commands.add_parser(name, help=text)
        plain.add_argument("directory", type=Path, metavar="DIR", help="a study's folder, such as runs/quickstart")
        plain.set_defaults(command=command)
        if name == "status":
            plain.add_argument(
                "--watch", action="store_true", help="stay, and show it anew, until the study is complete"
            )
        if name == "report":
            plain.add_argument(
                "other", type=Path, nargs="?", metavar="OTHER", help="another run of the study, to compare with"
            )

    show = commands.add_parser("show", help="a trial's LightningCLI configuration, its result, its traceback")
    show.add_argument("directory", type=Path, metavar="DIR", help="a study's folder, such as runs/quickstart")
    show.add_argument("trial", metavar="TRIAL", help="a trial's id, the beginning of it, or its levels and seed")
    show.set_defaults(command=_show)
    add_gradcheck(commands)
    add_wandb(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

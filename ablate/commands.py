"""Command `ablate`: it parses arguments, calls the packages, prints, and turns errors into exit codes."""

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

from .arguments import add_study, read_study
from .catalogue import add_catalogue
from .console import make_console, print_line
from .exit_codes import ExitCode, describe_exit_codes
from .gradcheck import add_gradcheck
from .run import add_run
from .session import write_and_print_report
from .wandb import add_mirror, add_wandb, make_mirror, read_wandb_options

if TYPE_CHECKING:
    from experiments.ledger.ledger import Ledger

_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO}  # the disk is full or broken


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = argparse.Namespace()
    try:
        arguments = _parser().parse_args(argv)
        _import_from_current_folder()
        for name in ("SIGTERM", "SIGHUP"):  # sent by a cluster, or by a closed terminal
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
    except BrokenPipeError:  # the reader of a pipe has closed it
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
    """Send the rest of standard output to the null device, so that Python exits without another error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _import_from_current_folder() -> None:
    """Make modules in the current folder importable, as `python -m` does.

    Raises:
        InputError: if a file or package there has the name of a package of the suite.
    """
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- sys.path holds strings
    if (clash := find_clash()) is not None:
        raise InputError(clash)


def _interrupt(number: int, frame: Any) -> NoReturn:  # noqa: ARG001 -- signature of a signal handler
    """Interrupt the command as Ctrl-C does."""
    raise KeyboardInterrupt


# ---- the commands --------------------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> int:
    from experiments.execution.options import RunOptions
    from experiments.execution.run import group_on, make_runner, plan_on, use_data_dir
    from experiments.ledger.study_folder import check_folder
    from reports import describe_power

    from .output import print_plan

    study = read_study(arguments)
    sensitivity = describe_power(study, arguments.pilot)  # first, since planning takes seconds and a pilot may be wrong
    if arguments.out is not None:
        check_folder(arguments.out, study)
    options = RunOptions(runner="inline", data_dir=arguments.data_dir)
    with use_data_dir(options.data_dir), make_runner(options, [study]) as runner:
        plan = plan_on(runner, study)
        groups = group_on(runner, plan.trials, options.fuse)
    console = make_console()
    print_plan(study, groups, plan.notes, console)
    for line in sensitivity:
        print_line(console, f"- {line}")
    return ExitCode.DONE


def _trial(arguments: argparse.Namespace) -> int:
    from experiments.execution.run_trial import run_trial

    from .output import format_outcome

    study = read_study(arguments)
    console = make_console()
    directory = arguments.out or Path("runs") / study.name
    mirror = make_mirror(read_wandb_options(arguments), study, directory, console, is_one_of_many=True)
    sinks = [] if mirror is None else [mirror]
    with mirror or contextlib.nullcontext():
        outcome = run_trial(study, arguments.trial, directory, data_dir=arguments.data_dir, sinks=sinks)
        print_line(console, format_outcome(outcome, study.metric.name))
    return ExitCode.SOME_FAILED if outcome.has_failed else ExitCode.DONE


def _status(arguments: argparse.Namespace) -> int:
    from experiments.ledger.study_folder import is_in_use, open_ledger

    from .output import print_status

    if arguments.watch:
        from .watch import watch_status

        watch_status(arguments.directory, make_console())
        return ExitCode.DONE
    with open_ledger(arguments.directory) as ledger:
        print_status(ledger, is_in_use(arguments.directory), make_console())
    return ExitCode.DONE


def _retry(arguments: argparse.Namespace) -> int:
    from experiments.ledger.study_folder import lock_folder, open_ledger

    with open_ledger(arguments.directory):
        pass  # raises before a lock file is created
    with lock_folder(arguments.directory), open_ledger(arguments.directory, writable=True) as ledger:
        count = ledger.retry()
    hint = "; `ablate run` trains them" if count else ""
    make_console().print(f"{count} failed trials are pending again{hint}")
    return ExitCode.DONE


def _show(arguments: argparse.Namespace) -> int:
    from experiments.ledger.study_folder import open_ledger

    from .output import format_trial

    with open_ledger(arguments.directory) as ledger:
        sys.stdout.write(format_trial(ledger.trial(_find_trial_id(ledger, arguments.trial))))
    return ExitCode.DONE


def _find_trial_id(ledger: "Ledger", text: str) -> str:
    """Return the id of the planned trial with these levels and seed; other texts are ids or their beginnings.

    Raises:
        InputError: if no trial, or more than one, has these levels and seed.
    """
    if "=" not in text:
        return text
    from experiments.execution.find_trial import find_trial
    from experiments.study.parse import parse_study

    return find_trial(ledger.planned(), text, parse_study(ledger.study_content(), source=str(ledger.path))).trial_id


def _report(arguments: argparse.Namespace) -> int:
    if arguments.other is None:
        write_and_print_report(arguments.directory, make_console())
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
        description="Ablation studies for PyTorch Lightning: paired by seed, recorded in a ledger, with verdicts.",
        epilog=describe_exit_codes(),
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    add_catalogue(commands)

    check = commands.add_parser("check", help="validate a study and print its plan, without training")
    add_study(check)
    check.add_argument(
        "--pilot",
        type=Path,
        metavar="DIR",
        help="folder of a finished run of this or a similar study, whose standard deviation gives the seeds needed",
    )
    check.set_defaults(command=_check)

    add_run(commands)

    trial = commands.add_parser(
        "trial", help="train and record one trial of a study; any number of processes may share a folder"
    )
    add_study(trial)
    trial.add_argument(
        "trial",
        metavar="TRIAL",
        help="id of a trial or the beginning of it, or levels and seed, as in activation=relu,seed=3",
    )
    add_mirror(trial, "log the trial to Weights & Biases while it trains")
    trial.set_defaults(command=_trial, continues=True)

    for name, command, text in (
        ("status", _status, "count trials by status, in total and by cell"),
        ("retry", _retry, "make failed trials pending again"),
        ("report", _report, "write DIR/report/ and print the verdicts; with two folders, print what changed"),
    ):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("directory", type=Path, metavar="DIR", help="folder of a study, such as runs/quickstart")
        sub.set_defaults(command=command)
        if name == "status":
            sub.add_argument("--watch", action="store_true", help="update the status until the study is complete")
        if name == "report":
            sub.add_argument(
                "other",
                type=Path,
                nargs="?",
                metavar="OTHER",
                help="folder of another run of the study to compare with",
            )

    show = commands.add_parser("show", help="print the LightningCLI configuration, result and traceback of a trial")
    show.add_argument("directory", type=Path, metavar="DIR", help="folder of a study, such as runs/quickstart")
    show.add_argument("trial", metavar="TRIAL", help="id of a trial or the beginning of it, or its levels and seed")
    show.set_defaults(command=_show)
    add_gradcheck(commands)
    add_wandb(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

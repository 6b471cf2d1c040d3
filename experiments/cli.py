"""The command `ablate`. No logic: it reads arguments, calls, prints, and turns errors into exit codes.

Exit codes: 0 done; 1 some trials failed, or a gradient differs; 2 the input is wrong; 130 interrupted, and the same
command continues.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .cli_arguments import add_study, make_console, study_of, use_data_dir
from .cli_gradients import add_gradcheck
from .cli_wandb import add_place, add_wandb, mirror_of, print_mirrored
from .errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from reports.wandb import WandbSink

    from .driver import Patience
    from .run import Outcome
    from .study import Study

DONE, SOME_FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

_FAILURES_SHOWN = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    _look_in_current_folder()
    for name in ("SIGTERM", "SIGHUP"):  # a cluster's request, a closed terminal
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)
    try:
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except InputError as error:
        print(f"ablate: {error}", file=sys.stderr)  # noqa: T201
        return WRONG_INPUT
    except KeyboardInterrupt:
        print("ablate: interrupted; the same command continues", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _look_in_current_folder() -> None:
    """Find a user's own module.Class, as `python -m` does; but a folder reports/ of theirs does not hide ours.

    In a checkout our packages are found last otherwise, after any folder of the same name.
    """
    ours = Path(__file__).resolve().parents[1]
    is_checkout = (ours / "pyproject.toml").exists()
    sys.path[:0] = [*([str(ours)] if is_checkout else []), os.getcwd()]  # noqa: PTH109


def _interrupt(number: int, frame: Any) -> NoReturn:  # noqa: ARG001 -- the form of a signal handler
    """The same as Ctrl-C."""
    raise KeyboardInterrupt


# ---- the commands --------------------------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:  # noqa: ARG001
    from rich.table import Table

    from .study_file import load_study, shipped_studies

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name in shipped_studies():
        table.add_row(name, load_study(name).question)
    make_console().print(table)
    return DONE


def _check(arguments: argparse.Namespace) -> int:
    from reports import planning_lines

    from .folder import check_folder
    from .overview import print_plan
    from .run import grouped, make_runner, plan

    study = study_of(arguments)
    can_find = planning_lines(study, arguments.pilot)  # before the seconds that the plan takes: a wrong pilot is told
    if arguments.out is not None:
        check_folder(arguments.out, study)
    use_data_dir(arguments)
    with make_runner("inline", study) as runner:
        planned = plan(study, runner)
        groups = grouped(planned.trials, runner, "auto")
    console = make_console()
    print_plan(study, groups, planned.notes, console)
    for line in can_find:
        console.print(f"- {line}", markup=False, emoji=False, soft_wrap=True)
    return DONE


def _run(arguments: argparse.Namespace) -> int:
    study = study_of(arguments)
    use_data_dir(arguments)
    console = make_console()
    directory = arguments.out or Path("runs") / study.name
    mirror = None if arguments.wandb == "off" else mirror_of(arguments, study, directory, console)
    with contextlib.nullcontext() if mirror is None else mirror:
        outcome = _train(arguments, study, directory, mirror, console)
    if mirror is not None:
        print_mirrored(mirror, directory, dict(outcome.counts), console)
    return SOME_FAILED if outcome.counts["failed"] else DONE


def _train(
    arguments: argparse.Namespace, study: "Study", directory: Path, mirror: "WandbSink | None", console: "Console"
) -> "Outcome":
    from rich.markup import escape

    from .progress import ProgressSink
    from .run import run

    def meanwhile() -> None:
        if mirror is not None:
            mirror.wait_until_ready()
        _import_reports()

    if arguments.runner == "inline" and mirror is not None:
        mirror.wait_until_ready()
    with ProgressSink(console, study.metric.name) as progress:
        outcome = run(
            study,
            directory,
            runner=arguments.runner,
            workers=arguments.workers,
            address=arguments.address,
            sinks=[progress] if mirror is None else [progress, mirror],
            fuse=arguments.fuse,
            devices=None if arguments.devices is None else [name.strip() for name in arguments.devices.split(",")],
            patience=_patience(arguments),
            wait=(lambda line: console.print(line, markup=False, soft_wrap=True)) if arguments.wait else None,
            meanwhile=meanwhile,
        )
    if outcome.num_trained == 0:
        console.print("nothing to train: every trial of this plan has ended")
    for trial, error in progress.failures[:_FAILURES_SHOWN]:
        last = error.strip().splitlines()[-1] if error.strip() else "no message"
        console.print(f"[red]failed[/red] {trial.trial_id} ({escape(str(trial))}): {escape(last)}", soft_wrap=True)
    failed = outcome.counts["failed"]
    if len(progress.failures) > _FAILURES_SHOWN:
        console.print(f"and {len(progress.failures) - _FAILURES_SHOWN} more")
    if failed:
        console.print(
            f"{failed} trials failed: `ablate show {directory} TRIAL` has the traceback, "
            f"`ablate retry {directory}` puts them back",
            soft_wrap=True,
        )
    if outcome.counts["finished"]:
        _print_report(directory, console)
        if mirror is not None:
            mirror.send_report()
    return outcome


def _trial(arguments: argparse.Namespace) -> int:
    from .one_trial import run_trial
    from .overview import outcome_text

    study = study_of(arguments)
    use_data_dir(arguments)
    console = make_console()
    directory = arguments.out or Path("runs") / study.name
    mirror = None
    if arguments.wandb != "off":
        mirror = mirror_of(arguments, study, directory, console, is_one_of_many=True)
    with contextlib.nullcontext() if mirror is None else mirror:
        if mirror is not None:
            mirror.wait_until_ready()
        outcome = run_trial(study, arguments.trial, directory, sinks=[] if mirror is None else [mirror])
        console.print(outcome_text(outcome, study.metric.name), markup=False, emoji=False, soft_wrap=True)
    return SOME_FAILED if outcome.has_failed else DONE


def _patience(arguments: argparse.Namespace) -> "Patience":
    from .driver import Patience

    if arguments.timeout is not None and not arguments.timeout > 0:
        raise InputError(f"--timeout {arguments.timeout:g}: seconds above 0 are needed")
    if arguments.retries < 0:
        raise InputError(f"--retries {arguments.retries}: 0 or more is needed")
    return Patience(
        timeout_seconds=arguments.timeout, num_retries=arguments.retries, retry_errors=arguments.retry_errors
    )


def _status(arguments: argparse.Namespace) -> int:
    from .folder import LEDGER, is_in_use
    from .ledger import Ledger
    from .overview import print_status

    if arguments.watch:
        from .watch import watch

        watch(arguments.directory, make_console())
        return DONE
    with Ledger(arguments.directory / LEDGER, writable=False) as ledger:
        print_status(ledger, is_in_use(arguments.directory), make_console())
    return DONE


def _retry(arguments: argparse.Namespace) -> int:
    from .folder import LEDGER, writing
    from .ledger import Ledger

    Ledger(arguments.directory / LEDGER, writable=False).__exit__(None, None, None)  # before a lock file is made
    with writing(arguments.directory), Ledger(arguments.directory / LEDGER, writable=True) as ledger:
        count = ledger.retry()
    again = "; `ablate run` trains them" if count else ""
    make_console().print(f"{count} failed trials are pending again{again}")
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    from .folder import LEDGER
    from .ledger import Ledger
    from .overview import trial_text

    with Ledger(arguments.directory / LEDGER, writable=False) as ledger:
        sys.stdout.write(trial_text(ledger.trial(arguments.trial)))
    return DONE


def _report(arguments: argparse.Namespace) -> int:
    if arguments.other is None:
        _print_report(arguments.directory, make_console())
        return DONE
    from reports import build_report, compare_reports, print_changes

    before, after = build_report(arguments.directory), build_report(arguments.other)
    names = (str(arguments.directory), str(arguments.other))
    print_changes(compare_reports(before, after), names, make_console(), after.study.metric.margin)
    return DONE


def _import_reports() -> None:
    """What the report at the end needs, now that there is time; what cannot be imported raises at the end, as ever."""
    with contextlib.suppress(Exception):
        from reports import import_figures, import_statistics

        import_statistics()
        import_figures()


def _print_report(directory: Path, console: "Console") -> None:
    from reports import print_report, write_report

    print_report(write_report(directory), console)


# ---- arguments -----------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ablate",
        description="Ablation studies for PyTorch Lightning: paired by seed, recorded in a ledger, given verdicts.",
        epilog="Exit codes: 0 done; 1 some trials failed, or a gradient differs; 2 the input is wrong; "
        "130 interrupted, and can continue.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listing = commands.add_parser("list", help="the shipped studies, each with its question")
    listing.set_defaults(command=_list)

    check = commands.add_parser("check", help="validate a study and show its plan, without training")
    add_study(check)
    check.add_argument(
        "--pilot",
        type=Path,
        metavar="DIR",
        help="the folder of a finished run of this or a similar study: its spread tells how many seeds are needed",
    )
    check.set_defaults(command=_check)

    run = commands.add_parser("run", help="train what a study still lacks, then report")
    add_study(run)
    run.add_argument("--runner", default="local", choices=["inline", "local", "ray"], help="default: %(default)s")
    run.add_argument("--workers", type=int, metavar="N", help="worker processes (default: one a GPU, or one a core)")
    run.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of a Ray cluster's head, or auto (default: $RAY_ADDRESS, else Ray is started on this machine)",
    )
    run.add_argument(
        "--fuse",
        default="auto",
        choices=["auto", "always", "never"],
        help="train trials that are built alike in one loop; always: an error where one is not (default: %(default)s)",
    )
    run.add_argument(
        "--wandb",
        default="off",
        choices=["off", "offline", "online"],
        help="show trials in Weights & Biases while they train (default: %(default)s)",
    )
    _add_patience(run)
    add_place(run)
    run.set_defaults(command=_run)

    trial = commands.add_parser(
        "trial", help="train one trial of a study and record it; any number of these may share a folder"
    )
    add_study(trial)
    trial.add_argument(
        "trial",
        metavar="TRIAL",
        help="a trial's id, or the beginning of it; or levels and seed, as in activation=relu,seed=3",
    )
    trial.add_argument(
        "--wandb",
        default="off",
        choices=["off", "offline", "online"],
        help="show the trial in Weights & Biases while it trains (default: %(default)s)",
    )
    add_place(trial)
    trial.set_defaults(command=_trial)

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
    show.add_argument("trial", metavar="TRIAL", help="a trial's id, or the beginning of it")
    show.set_defaults(command=_show)
    add_gradcheck(commands)
    add_wandb(commands)
    return parser


def _add_patience(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--devices",
        metavar="LIST",
        help="GPUs as torch counts them, or UUIDs, as in 0,2,3; without GPUs, cores (default: all)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="how long a trial may train before it has failed; trials that are trained together have theirs together",
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=2,
        metavar="N",
        help="train again, up to so often, what was lost with its worker (default: %(default)s)",
    )
    parser.add_argument(
        "--retry-errors", action="store_true", help="also train again, as often, what the trial's own code raised in"
    )
    parser.add_argument("--wait", action="store_true", help="wait while another command uses the folder")


if __name__ == "__main__":
    sys.exit(main())

"""`ablate run`, for one study or for all shipped ones. No logic, as in commands.py."""

import argparse
import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import InputError, StudyError
from experiments.trials.trial import TrialStatus

from .arguments import add_changes, changes_of, make_console, study_of, use_data_dir
from .catalogue import print_index
from .exit_codes import ExitCode
from .wandb import add_mirror, mirror_of, print_mirrored

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.execution.driver import Patience
    from experiments.execution.run import Outcome
    from experiments.execution.run_all import Job
    from experiments.study.catalogue import Entry
    from experiments.study.study import Study

_FAILURES_SHOWN = 3
_LONGEST_TIMEOUT = 100_000_000  # seconds: three years; what waits for events takes no more


def add_run(commands: Any) -> None:
    """Add the command `run` to what `add_subparsers` of the command's parser gave."""
    run = commands.add_parser("run", help="train what a study, or all shipped ones, still lack, then report")
    run.add_argument("study", nargs="?", metavar="STUDY", help="a name of `ablate list`, or the path of a YAML file")
    run.add_argument("--all", action="store_true", help="all shipped studies instead, in order of cost")
    run.add_argument("--chapter", metavar="NAME", help="with --all: only the studies of this chapter")
    run.add_argument(
        "--budget",
        metavar="TIME",
        help="with --all: leave out what does not fit, as in 90s, 30m or 2h; a study that has begun is finished",
    )
    run.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the study's folder (default: runs/<study>); with --all the folder of their folders (default: runs)",
    )
    add_changes(run)
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
    _add_patience(run)
    add_mirror(run, "show trials in Weights & Biases while they train")
    run.set_defaults(command=_run, continues=True)


def print_report_of(directory: Path, console: "Console") -> None:
    """Write a folder's report, and print it."""
    from reports import print_report, write_report

    print_report(write_report(directory), console)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.all:
        return _run_all(arguments)
    if arguments.study is None:
        raise InputError("name a study, as in `ablate run quickstart` (`ablate list` has them), or give --all")
    for name in ("chapter", "budget"):
        if (value := getattr(arguments, name)) is not None:
            raise InputError(f"--{name} {value}: is for --all; {arguments.study} is one study")
    from experiments.execution.run import run

    study = study_of(arguments)
    use_data_dir(arguments)
    directory = arguments.out or Path("runs") / study.name
    patience = _patience(arguments)
    console = make_console()

    def train(sinks: list[Any], meanwhile: Callable[[], None]) -> "Outcome":
        return run(
            study,
            directory,
            runner=arguments.runner,
            workers=arguments.workers,
            address=arguments.address,
            devices=_devices(arguments),
            fuse=arguments.fuse,
            patience=patience,
            wait=_wait(arguments, console),
            sinks=sinks,
            meanwhile=meanwhile,
        )

    return (
        ExitCode.SOME_FAILED
        if _trained(arguments, study, directory, train, console).counts[TrialStatus.FAILED]
        else ExitCode.DONE
    )


def _trained(
    arguments: argparse.Namespace,
    study: "Study",
    directory: Path,
    train: Callable[[list[Any], Callable[[], None]], "Outcome"],
    console: "Console",
    doing: str | None = None,
) -> "Outcome":
    """Train one study with everything that watches it, and report."""
    from experiments.execution.progress import ProgressSink

    mirror = None if arguments.wandb == "off" else mirror_of(arguments, study, directory, console)

    def meanwhile() -> None:
        if mirror is not None:
            mirror.wait_until_ready()
        _import_reports()

    with contextlib.nullcontext() if mirror is None else mirror:
        if mirror is not None and (arguments.runner == "inline" or doing is not None):
            mirror.wait_until_ready()
        with ProgressSink(console, study.metric.name, doing, study.claims) as progress:
            outcome = train([progress] if mirror is None else [progress, mirror], meanwhile)
        if outcome.num_trained == 0:
            console.print("nothing to train: every trial of this plan has ended")
        _print_failures(progress.failures, outcome, console)
        if outcome.counts[TrialStatus.FINISHED]:
            print_report_of(directory, console)
            if mirror is not None:
                mirror.send_report()
        elif diverged := outcome.counts[TrialStatus.DIVERGED]:
            console.print(f"no trial has finished, so there is no report: {diverged} diverged")
    if mirror is not None:
        print_mirrored(mirror, directory, dict(outcome.counts), console)
    return outcome


def _print_failures(failures: list[tuple[Any, str]], outcome: "Outcome", console: "Console") -> None:
    from rich.markup import escape

    for trial, error in failures[:_FAILURES_SHOWN]:
        last = error.strip().splitlines()[-1] if error.strip() else "no message"
        console.print(f"[red]failed[/red] {trial.trial_id} ({escape(str(trial))}): {escape(last)}", soft_wrap=True)
    if len(failures) > _FAILURES_SHOWN:
        console.print(f"and {len(failures) - _FAILURES_SHOWN} more")
    if failed := outcome.counts[TrialStatus.FAILED]:
        console.print(
            f"{failed} trials failed: `ablate show {outcome.directory} TRIAL` has the traceback, "
            f"`ablate retry {outcome.directory}` puts them back",
            soft_wrap=True,
        )


# ---- all studies ---------------------------------------------------------------------------------------------------


def _run_all(arguments: argparse.Namespace) -> int:
    from experiments.execution.run import make_runner, run_on
    from experiments.execution.run_all import (
        NOT_FINISHED,
        WITH_FAILED,
        by_cost,
        job_of,
        parse_budget,
        run_all,
        summary_lines,
    )
    from experiments.ledger.study_folder import check_folder
    from experiments.study.catalogue import catalogue, in_chapter

    if arguments.study is not None:
        raise InputError(f"{arguments.study} and --all: give one of them")
    if arguments.wandb_group is not None:
        raise InputError(f"--wandb-group {arguments.wandb_group}: with --all, the runs of each study are a group")
    budget = None if arguments.budget is None else parse_budget(arguments.budget)
    entries = in_chapter(catalogue(), arguments.chapter)
    patience = _patience(arguments)
    use_data_dir(arguments)
    parent = _parent(arguments)
    console = make_console()
    tell = functools.partial(console.print, markup=False, emoji=False, highlight=False, soft_wrap=True)
    loaded, refused = _load_all(arguments, entries)
    jobs = by_cost(job_of(entry, study, parent / study.name) for entry, study in loaded)
    if arguments.wandb != "off":
        mirror_of(arguments, jobs[0].study, jobs[0].directory, console)  # what is wrong with W&B is told once, now
    with make_runner(
        arguments.runner, [job.study for job in jobs], arguments.workers, _devices(arguments), arguments.address
    ) as places:
        _make(parent)
        _print_begin(jobs, budget, tell)
        if arguments.runner != "inline":
            _import_reports()

        def train(job: "Job") -> "Outcome":
            check_folder(job.directory, job.study)

            def on_places(sinks: list[Any], meanwhile: Callable[[], None]) -> "Outcome":  # noqa: ARG001 -- done above
                return run_on(
                    places,
                    job.study,
                    job.directory,
                    fuse=arguments.fuse,
                    patience=patience,
                    wait=_wait(arguments, console),
                    sinks=sinks,
                )

            return _trained(arguments, job.study, job.directory, on_places, console, "planning")

        ended = run_all(jobs, train, tell, after=functools.partial(_write_index, parent), budget_seconds=budget)
    tell("")
    for line in [*summary_lines(ended), *refused]:
        tell(line)
    print_index(parent, console)
    has_failed = refused or any(each.state in {WITH_FAILED, NOT_FINISHED} for each in ended)
    return ExitCode.SOME_FAILED if has_failed else ExitCode.DONE


def _load_all(
    arguments: argparse.Namespace, entries: "Sequence[Entry]"
) -> tuple[list[tuple["Entry", "Study"]], list[str]]:
    """The studies, changed as the options say, and a line for each that cannot be; an error where that is all."""
    from experiments.study.parse import load_study

    changes = changes_of(arguments)
    loaded, refused, errors = [], [], []
    for entry in entries:
        try:
            loaded.append((entry, load_study(entry.name, seeds=arguments.seeds, changes=changes)))
        except StudyError as error:
            errors.append(error)
            refused.append(f"- {entry.name} (could not be begun): {str(error).splitlines()[-1]}")
    if not loaded:
        raise errors[0]
    return loaded, refused


def _parent(arguments: argparse.Namespace) -> Path:
    """The folder of the studies' folders."""
    from experiments.ledger.study_folder import LEDGER

    parent: Path = arguments.out or Path("runs")
    if parent.exists() and not parent.is_dir():
        raise InputError(f"--out {parent}: is a file; with --all it is the folder of the studies' folders")
    if (parent / LEDGER).exists():
        raise InputError(f"--out {parent}: is a study's folder; with --all it is the folder of the studies' folders")
    return parent


def _make(parent: Path) -> None:
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {parent}: cannot be made: {error.strerror or error}") from error


def _print_begin(jobs: "Sequence[Job]", budget: float | None, tell: Callable[[str], None]) -> None:
    from experiments.text import duration

    minutes = sum(job.minutes_left or 0.0 for job in jobs)
    expected = f", about {duration(60 * minutes)} on two cores" if minutes else ""
    noun = "study" if len(jobs) == 1 else "studies"
    tell(f"{len(jobs)} {noun} in order of cost{expected}")
    if budget is not None:
        tell(f"budget {duration(budget)}: what does not fit is left out, and a study that has begun is finished")


def _write_index(parent: Path) -> None:
    """Bring the index up to date; what is wrong with it is said at the end, when it is written again."""
    from reports.index import write_index

    with contextlib.suppress(InputError):
        write_index(parent)


# ---- parts ---------------------------------------------------------------------------------------------------------


def _patience(arguments: argparse.Namespace) -> "Patience":
    from experiments.execution.driver import Patience

    if arguments.timeout is not None and not 0 < arguments.timeout <= _LONGEST_TIMEOUT:
        raise InputError(f"--timeout {arguments.timeout:g}: seconds above 0 are needed, {_LONGEST_TIMEOUT:,} at most")
    if arguments.retries < 0:
        raise InputError(f"--retries {arguments.retries}: 0 or more is needed")
    return Patience(
        timeout_seconds=arguments.timeout, num_retries=arguments.retries, retry_errors=arguments.retry_errors
    )


def _devices(arguments: argparse.Namespace) -> list[str] | None:
    return None if arguments.devices is None else [name.strip() for name in arguments.devices.split(",")]


def _wait(arguments: argparse.Namespace, console: "Console") -> Callable[[str], None] | None:
    return (lambda line: console.print(line, markup=False, soft_wrap=True)) if arguments.wait else None


def _import_reports() -> None:
    """What the report at the end needs, now that there is time; what cannot be imported raises at the end, as ever."""
    with contextlib.suppress(Exception):
        from reports import import_libraries

        import_libraries()


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

"""`ablate run`, for one study or for all shipped ones. No logic, as in commands.py."""

import argparse
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import InputError, StudyError
from experiments.execution.options import FUSE, RUNNERS, RunOptions
from experiments.execution.run import Outcome, check_names, data_folder, make_runner, run_on
from experiments.execution.sinks import Sink
from experiments.ledger.study_folder import LEDGER, check_folder
from experiments.runners import Runner
from experiments.study.parse import load_study
from experiments.trials.trial import TrialStatus

from .arguments import add_changes, parse_changes, study_of
from .catalogue import print_index
from .console import make_console, print_line
from .exit_codes import ExitCode
from .wandb import WandbOptions, add_mirror, make_mirror, print_mirrored, read_wandb_options

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.execution.run_all import Job
    from experiments.study.catalogue import Entry
    from experiments.study.study import Study

_FAILURES_SHOWN = 3
_DEFAULTS = RunOptions()


def add_run(commands: Any) -> None:
    """Add the command `run` to what `add_subparsers` of the command's parser gave."""
    parser = commands.add_parser("run", help="train what a study, or all shipped ones, still lack, then report")
    parser.add_argument("study", nargs="?", metavar="STUDY", help="a name of `ablate list`, or the path of a YAML file")
    parser.add_argument("--all", action="store_true", help="all shipped studies instead, in order of cost")
    parser.add_argument("--chapter", metavar="NAME", help="with --all: only the studies of this chapter")
    parser.add_argument(
        "--budget",
        metavar="TIME",
        help="with --all: leave out what does not fit, as in 90s, 30m or 2h; a study that has begun is finished",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the study's folder (default: runs/<study>); with --all the folder of their folders (default: runs)",
    )
    add_changes(parser)
    parser.add_argument("--runner", default=_DEFAULTS.runner, choices=RUNNERS, help="default: %(default)s")
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes (default: one a GPU, or one a core)")
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of a Ray cluster's head, or auto (default: $RAY_ADDRESS, else Ray is started on this machine)",
    )
    parser.add_argument(
        "--fuse",
        default=_DEFAULTS.fuse,
        choices=FUSE,
        help="train trials that are built alike in one loop; always: an error where one is not (default: %(default)s)",
    )
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
        default=_DEFAULTS.num_retries,
        metavar="N",
        help="train again, up to so often, what was lost with its worker (default: %(default)s)",
    )
    parser.add_argument(
        "--retry-errors", action="store_true", help="also train again, as often, what the trial's own code raised in"
    )
    parser.add_argument("--wait", action="store_true", help="wait while another command uses the folder")
    add_mirror(parser, "show trials in Weights & Biases while they train")
    parser.set_defaults(command=_run, continues=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """Settings that all studies of one command share."""

    options: RunOptions
    wandb: WandbOptions
    console: "Console"


def print_report_of(directory: Path, console: "Console") -> None:
    """Write a folder's report, and print it."""
    from reports import print_report, write_report

    print_report(write_report(directory), console)


def _run(arguments: argparse.Namespace) -> int:
    session = _Session(
        options=RunOptions(
            runner=arguments.runner,
            num_slots=arguments.workers,
            address=arguments.address,
            devices=None if arguments.devices is None else [name.strip() for name in arguments.devices.split(",")],
            fuse=arguments.fuse,
            data_dir=arguments.data_dir,
            timeout_seconds=arguments.timeout,
            num_retries=arguments.retries,
            retry_errors=arguments.retry_errors,
            wait_for_folder=arguments.wait,
        ),
        wandb=read_wandb_options(arguments),
        console=make_console(),
    )
    if arguments.all:
        if arguments.study is not None:
            raise InputError(f"{arguments.study} and --all: give one of them")
        if session.wandb.group is not None:
            raise InputError(f"--wandb-group {session.wandb.group}: with --all, the runs of each study are a group")
        from experiments.execution.run_all import parse_budget

        budget_seconds = None if arguments.budget is None else parse_budget(arguments.budget)
        loaded, refused = _load_all(arguments.chapter, arguments.seeds, parse_changes(arguments.changes))
        return _run_all(loaded, refused, arguments.out or Path("runs"), budget_seconds, session)
    if arguments.study is None:
        raise InputError("name a study, as in `ablate run quickstart` (`ablate list` has them), or give --all")
    for name in ("chapter", "budget"):
        if (value := getattr(arguments, name)) is not None:
            raise InputError(f"--{name} {value}: is for --all; {arguments.study} is one study")
    study = study_of(arguments)
    directory = arguments.out or Path("runs") / study.name
    check_names()
    check_folder(directory, study)

    def train(sinks: Sequence[Sink]) -> Outcome:
        with _start_runner(session.options, [study]) as runner:
            return run_on(runner, study, directory, session.options, sinks)

    outcome = _train_and_report(study, directory, train, session)
    return ExitCode.SOME_FAILED if outcome.counts[TrialStatus.FAILED] else ExitCode.DONE


def _train_and_report(
    study: "Study",
    directory: Path,
    train: Callable[[Sequence[Sink]], Outcome],
    session: _Session,
    doing: str | None = None,
) -> Outcome:
    """Train one study with everything that watches it, and report."""
    from experiments.execution.progress import ProgressSink

    console = session.console
    mirror = make_mirror(session.wandb, study, directory, console)
    with mirror or contextlib.nullcontext():
        with ProgressSink(console, study.metric.name, doing, study.claims) as progress:
            outcome = train([progress] if mirror is None else [progress, mirror])
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


@contextlib.contextmanager
def _start_runner(options: RunOptions, studies: "Sequence[Study]") -> Iterator[Runner]:
    """Start the runner, and import the modules of the report while its workers import torch.

    The inline runner imports torch in this process, which would gain nothing.
    """
    with data_folder(options.data_dir), make_runner(options, studies) as runner:
        if options.runner != "inline":
            with contextlib.suppress(Exception):  # the report raises it again
                from reports import import_libraries

                import_libraries()
        yield runner


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


def _load_all(
    chapter: str | None, seeds: int | None, changes: Mapping[str, Any]
) -> tuple[list[tuple["Entry", "Study"]], list[str]]:
    """Load the shipped studies, and return a line for each that cannot take these changes.

    Raises:
        StudyError: none of them can.
    """
    from experiments.study.catalogue import load_catalogue, select_chapter

    loaded, refused, errors = [], [], []
    for entry in select_chapter(load_catalogue(), chapter):
        try:
            loaded.append((entry, load_study(entry.name, seeds=seeds, changes=changes)))
        except StudyError as error:
            errors.append(error)
            refused.append(f"- {entry.name} (could not be begun): {str(error).splitlines()[-1]}")
    if not loaded:
        raise errors[0]
    return loaded, refused


def _run_all(
    loaded: "Sequence[tuple[Entry, Study]]",
    refused: Sequence[str],
    parent: Path,
    budget_seconds: float | None,
    session: _Session,
) -> int:
    from experiments.execution.run_all import NOT_FINISHED, WITH_FAILED, by_cost, job_of, run_all, summary_lines

    _check_parent(parent)
    options, console = session.options, session.console
    tell = functools.partial(print_line, console)
    jobs = by_cost(job_of(entry, study, parent / study.name) for entry, study in loaded)
    make_mirror(session.wandb, jobs[0].study, jobs[0].directory, console)  # what is wrong with W&B is told once, now
    with _start_runner(options, [job.study for job in jobs]) as runner:
        _make(parent)
        _print_begin(jobs, budget_seconds, tell)

        def train(job: "Job") -> Outcome:
            check_folder(job.directory, job.study)
            train_job = functools.partial(run_on, runner, job.study, job.directory, options)
            return _train_and_report(job.study, job.directory, train_job, session, "planning")

        ended = run_all(jobs, train, tell, after=functools.partial(_write_index, parent), budget_seconds=budget_seconds)
    tell("")
    for line in [*summary_lines(ended), *refused]:
        tell(line)
    print_index(parent, console)
    has_failed = refused or any(each.state in {WITH_FAILED, NOT_FINISHED} for each in ended)
    return ExitCode.SOME_FAILED if has_failed else ExitCode.DONE


def _check_parent(parent: Path) -> None:
    """Raise an InputError where the folder of the studies' folders is a file or a study's folder."""
    if parent.exists() and not parent.is_dir():
        raise InputError(f"--out {parent}: is a file; with --all it is the folder of the studies' folders")
    if (parent / LEDGER).exists():
        raise InputError(f"--out {parent}: is a study's folder; with --all it is the folder of the studies' folders")


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

"""Command `ablate run --all`: all shipped studies, in order of cost. No logic, as in commands.py."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import InputError, StudyError
from experiments.execution.run import Outcome, run_on
from experiments.execution.run_all import (
    NOT_COMPLETED,
    WITH_FAILED,
    Job,
    format_summary,
    make_job,
    run_all,
    sort_by_total_minutes,
)
from experiments.ledger.study_folder import LEDGER, check_folder
from experiments.study.catalogue import Entry, load_catalogue, select_chapter
from experiments.study.parse import load_study
from experiments.study.study import Study
from experiments.text import format_duration

from .catalogue import print_index
from .console import print_line
from .exit_codes import ExitCode
from .session import Session, start_runner, train_and_report
from .wandb import make_mirror


def load_studies(
    chapter: str | None, seeds: int | None, changes: Mapping[str, Any]
) -> tuple[list[tuple[Entry, Study]], list[str]]:
    """Load the shipped studies, with changes, and return them and a line for each that cannot take the changes.

    Raises:
        StudyError: no study can.
    """
    loaded, refused, errors = [], [], []
    for entry in select_chapter(load_catalogue(), chapter):
        try:
            loaded.append((entry, load_study(entry.name, seeds=seeds, changes=changes)))
        except StudyError as error:
            errors.append(error)
            refused.append(f"- {entry.name}: could not be started: {str(error).splitlines()[-1]}")
    if not loaded:
        raise errors[0]
    return loaded, refused


def run_studies(
    loaded: Sequence[tuple[Entry, Study]],
    refused: Sequence[str],
    parent: Path,
    budget_seconds: float | None,
    session: Session,
) -> int:
    """Run studies in order of cost, print a summary, and return the exit code.

    Args:
        loaded: the studies with their catalogue entries.
        refused: a line for each study that could not be loaded.
        parent: parent of the study folders.
        budget_seconds: time for all studies; None for no limit.
        session: settings that the studies share.

    Raises:
        InputError: the parent, an option of W&B or a device is wrong.
    """
    _check_parent(parent)
    options, console = session.options, session.console
    print_one = functools.partial(print_line, console)
    jobs = sort_by_total_minutes(make_job(entry, study, parent / study.name) for entry, study in loaded)
    make_mirror(session.wandb, jobs[0].study, jobs[0].directory, console)  # to raise errors in the W&B options now
    with start_runner(options, [job.study for job in jobs]) as runner:
        _make_folder(parent)
        _print_start(jobs, budget_seconds, print_one)

        def train(job: Job) -> Outcome:
            check_folder(job.directory, job.study)
            train_job = functools.partial(run_on, runner, job.study, job.directory, options)
            return train_and_report(job.study, job.directory, train_job, session, "planning")

        write_index = functools.partial(_write_index, parent)
        outcomes = run_all(jobs, train, print_one, on_job_end=write_index, budget_seconds=budget_seconds)
    print_one("")
    for line in [*format_summary(outcomes), *refused]:
        print_one(line)
    print_index(parent, console)
    has_failed = refused or any(outcome.state in {WITH_FAILED, NOT_COMPLETED} for outcome in outcomes)
    return ExitCode.SOME_FAILED if has_failed else ExitCode.DONE


def _check_parent(parent: Path) -> None:
    """Raise an InputError if the parent of the study folders is a file or a study's folder."""
    if parent.exists() and not parent.is_dir():
        raise InputError(f"--out {parent}: is a file; with --all it is the parent of all study folders")
    if (parent / LEDGER).exists():
        raise InputError(f"--out {parent}: is a study's folder; with --all it is the parent of all study folders")


def _make_folder(parent: Path) -> None:
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {parent}: cannot be made: {error.strerror or error}") from error


def _print_start(jobs: Sequence[Job], budget_seconds: float | None, print_one: Callable[[str], None]) -> None:
    minutes = sum(job.minutes_left or 0.0 for job in jobs)
    expected = f", about {format_duration(60 * minutes)} on two cores" if minutes else ""
    noun = "study" if len(jobs) == 1 else "studies"
    print_one(f"{len(jobs)} {noun} in order of cost{expected}")
    if budget_seconds is not None:
        print_one(
            f"budget {format_duration(budget_seconds)}: studies that do not fit are skipped, started ones are completed"
        )


def _write_index(parent: Path) -> None:
    """Update the index; an error is raised at the end, when it is written again."""
    from reports.index import write_index

    with contextlib.suppress(InputError):
        write_index(parent)

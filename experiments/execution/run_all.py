"""Several studies in turn, in order of cost: an error in one of them is printed, and the next one starts."""

import re
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import InputError, LedgerError, RunnerError, StudyError
from experiments.ledger.study_folder import open_ledger
from experiments.study.catalogue import Entry
from experiments.study.study import Study
from experiments.text import format_duration
from experiments.trials.trial import TrialStatus, count_finished

from .run import Outcome

COMPLETE, WITH_FAILED, NOT_FINISHED = "complete", "with failed trials", "could not be finished"
NO_DATA, LEFT_OUT = "without its data", "left out"
STATES = (COMPLETE, WITH_FAILED, NOT_FINISHED, NO_DATA, LEFT_OUT)
_TRIAL_KEYS = ("base", "factors", "design", "exclude", "folds", "mechanisms")  # a change of these changes the trials
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Study to run in a folder.

    minutes_left: expected minutes of the trials that have no result yet; None where the study's file does not say.
    cost: expected minutes of all trials, by which jobs are ordered.
    """

    study: Study
    directory: Path
    minutes_left: float | None
    cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """Outcome of a job: one of STATES, and the reason where it is not complete."""

    job: Job
    state: str
    reason: str = ""


def make_job(entry: Entry, study: Study, directory: Path) -> Job:
    """Make the job of a catalogue entry, whose study may have other seeds than its file.

    The expected minutes are those of the file, scaled by the number of seeds and, for what is left, by the share of the
    trials that have no result in the folder's ledger.
    """
    if entry.minutes is None:
        return Job(study=study, directory=directory, minutes_left=None, cost=None)
    cost = entry.minutes * len(study.seeds) / entry.num_seeds
    num_trials = entry.num_cells * len(study.seeds)
    num_left = max(0, num_trials - _count_ended(directory, study))
    return Job(study=study, directory=directory, minutes_left=cost * num_left / num_trials, cost=cost)


def sort_by_cost(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs by increasing cost, those of unknown cost last."""
    return sorted(jobs, key=lambda job: (float("inf") if job.cost is None else job.cost, job.study.name))


def run_all(
    jobs: Sequence[Job],
    train: Callable[[Job], Outcome],
    print_line: Callable[[str], None],
    *,
    on_job_end: Callable[[], None] = lambda: None,
    budget_seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[JobOutcome]:
    """Train the studies of all jobs in this order, and return their outcomes.

    With a budget, a study is left out if it is expected to take more time than is left, or if its expected time is
    unknown. A study that has started is finished: to stop it early would lose the groups in training.

    Args:
        jobs: in the order in which they are run.
        train: trains one study, and writes its report.
        print_line: prints a line.
        on_job_end: called after each study that was started.
        budget_seconds: for all jobs together.
        clock: returns monotonic seconds.

    Raises:
        RunnerError: the runner is gone, so the next study would fail too.
        KeyboardInterrupt: on Ctrl-C; the results of ended trials are on disk.
    """
    started_at = clock()
    outcomes = []
    for number, job in enumerate(jobs, start=1):
        left = None if budget_seconds is None else budget_seconds - (clock() - started_at)
        if left is not None and (reason := _reason_to_leave_out(job, left)) is not None:
            outcomes.append(JobOutcome(job=job, state=LEFT_OUT, reason=reason))
            continue
        expected = f", about {format_duration(60 * job.minutes_left)}" if job.minutes_left else ""
        print_line(f"\n{number} of {len(jobs)}: {job.study.name}{expected}")
        outcomes.append(_run_job(job, train))
        if outcomes[-1].state != COMPLETE:
            print_line(f"{job.study.name}: {outcomes[-1].state}: {outcomes[-1].reason.rstrip()}")
        on_job_end()
    return outcomes


def parse_budget(text: str) -> float:
    """Parse a time such as 90s, 30m or 2h into seconds.

    >>> parse_budget("30m"), parse_budget("1.5h")
    (1800.0, 5400.0)

    Raises:
        InputError: it is no such time, or 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or float(match[1]) == 0:
        raise InputError(f"--budget {text}: write a time above 0 as 90s, 30m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def format_summary(outcomes: Sequence[JobOutcome]) -> list[str]:
    """Return a line with the number of studies by state, and a line for each reason why some are not complete."""
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in STATES}
    noun = "study" if len(outcomes) == 1 else "studies"
    parts = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    names_by_reason: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        if outcome.state != COMPLETE:
            last = outcome.reason.strip().splitlines()[-1]
            names_by_reason.setdefault((outcome.state, last), []).append(outcome.job.study.name)
    lines = [f"- {', '.join(names)} ({state}): {reason}" for (state, reason), names in names_by_reason.items()]
    return [f"{len(outcomes)} {noun}: {parts}", *lines]


def _reason_to_leave_out(job: Job, seconds: float) -> str | None:
    """Return why a job does not fit into the seconds left of a budget; None where it does."""
    left = f"{format_duration(seconds)} of the budget is left" if seconds > 0 else "the budget is used up"
    if job.minutes_left is None:
        return f"its file does not say how long it takes (`minutes`), and {left}"
    if job.minutes_left and 60 * job.minutes_left > seconds:
        return f"it takes about {format_duration(60 * job.minutes_left)}, and {left}"
    return None


def _run_job(job: Job, train: Callable[[Job], Outcome]) -> JobOutcome:
    try:
        outcome = train(job)
    except RunnerError:
        raise
    except StudyError as error:
        problems = "; ".join(map(str, error.problems))
        return JobOutcome(job=job, state=NO_DATA if error.is_absent_data else NOT_FINISHED, reason=problems)
    except InputError as error:
        return JobOutcome(job=job, state=NOT_FINISHED, reason=str(error))
    except Exception:  # noqa: BLE001 -- an error of ours or of a user's class must not cost the other studies
        return JobOutcome(job=job, state=NOT_FINISHED, reason=traceback.format_exc())
    if failed := outcome.counts[TrialStatus.FAILED]:
        noun = "trial" if failed == 1 else "trials"
        reason = f"{failed} {noun} failed; `ablate retry {job.directory}` puts failed trials back"
        return JobOutcome(job=job, state=WITH_FAILED, reason=reason)
    return JobOutcome(job=job, state=COMPLETE)


def _count_ended(directory: Path, study: Study) -> int:
    """Count the planned trials that have ended; 0 where the ledger cannot be read or holds another plan."""
    wanted = study.to_dict()
    try:
        with open_ledger(directory) as ledger:
            counts, planned = ledger.counts(), ledger.study_content()
            if any(planned.get(key) != wanted.get(key) for key in _TRIAL_KEYS):
                return 0
    except LedgerError:  # the error is raised again when the study is run
        return 0
    return count_finished(counts)

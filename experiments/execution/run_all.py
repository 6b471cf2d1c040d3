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
from experiments.trials.trial import TrialStatus, count_ended

from .run import Outcome

COMPLETE, WITH_FAILED, NOT_COMPLETED = "complete", "with failed trials", "stopped by an error"
NO_DATA, SKIPPED = "data missing", "skipped (budget)"
STATES = (COMPLETE, WITH_FAILED, NOT_COMPLETED, NO_DATA, SKIPPED)
_TRIAL_KEYS = ("base", "factors", "design", "exclude", "folds", "mechanisms")  # a change of these changes the trials
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Study to run in a folder.

    minutes_left: expected minutes of the pending and running trials; None if the study's file has no `minutes`.
    total_minutes: expected minutes of all trials, by which jobs are sorted; None if unknown.
    """

    study: Study
    directory: Path
    minutes_left: float | None
    total_minutes: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """Outcome of a job: one of STATES, and the reason if it is not complete."""

    job: Job
    state: str
    reason: str = ""


def make_job(entry: Entry, study: Study, directory: Path) -> Job:
    """Make the job of a catalogue entry, whose study may have other seeds than its file.

    The expected minutes are those of the file, scaled by the number of seeds. `minutes_left` is also scaled by the
    share of the trials that have not ended according to the folder's ledger.
    """
    if entry.minutes is None:
        return Job(study=study, directory=directory, minutes_left=None, total_minutes=None)
    total_minutes = entry.minutes * len(study.seeds) / entry.num_seeds
    num_trials = entry.num_cells * len(study.seeds)
    num_left = max(0, num_trials - _count_ended_trials(directory, study))
    minutes_left = total_minutes * num_left / num_trials
    return Job(study=study, directory=directory, minutes_left=minutes_left, total_minutes=total_minutes)


def sort_by_total_minutes(jobs: Iterable[Job]) -> list[Job]:
    """Sort jobs by increasing `total_minutes`; those without it come last."""

    def make_key(job: Job) -> tuple[float, str]:
        return (float("inf") if job.total_minutes is None else job.total_minutes, job.study.name)

    return sorted(jobs, key=make_key)


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

    With a budget, a study is skipped if it is expected to take longer than the remaining time, or if its expected time
    is unknown. A study that has started is not stopped at the end of the budget: its running groups would be lost.

    Args:
        jobs: in the order in which they are run.
        train: trains one study, and writes its report.
        print_line: prints a line.
        on_job_end: called after each study that was started.
        budget_seconds: for all jobs together.
        clock: returns monotonic seconds.

    Raises:
        RunnerError: the runner has failed (for example, the Ray cluster is unreachable), so every later study would
            fail too.
        KeyboardInterrupt: on Ctrl-C; the results of ended trials are on disk.
    """
    started_at = clock()
    outcomes = []
    for number, job in enumerate(jobs, start=1):
        seconds_remaining = None if budget_seconds is None else budget_seconds - (clock() - started_at)
        if seconds_remaining is not None and (reason := _find_skip_reason(job, seconds_remaining)) is not None:
            outcomes.append(JobOutcome(job=job, state=SKIPPED, reason=reason))
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
        InputError: the text is not a positive number followed by s, m or h.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or float(match[1]) == 0:
        raise InputError(f"--budget {text}: is not a valid time; give a positive time such as 90s, 30m or 2h")
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
    lines = [f"- {', '.join(names)}: {state}: {reason}" for (state, reason), names in names_by_reason.items()]
    return [f"{len(outcomes)} {noun}: {parts}", *lines]


def _find_skip_reason(job: Job, seconds_remaining: float) -> str | None:
    """Return why a job does not fit into the remaining seconds of a budget; None if it fits."""
    if seconds_remaining > 0:
        remaining = f"{format_duration(seconds_remaining)} of the budget remains"
    else:
        remaining = "the budget is used up"
    if job.minutes_left is None:
        return f"its file does not give its expected time (`minutes`), and {remaining}"
    if job.minutes_left and 60 * job.minutes_left > seconds_remaining:
        return f"it takes about {format_duration(60 * job.minutes_left)}, and {remaining}"
    return None


def _run_job(job: Job, train: Callable[[Job], Outcome]) -> JobOutcome:
    try:
        outcome = train(job)
    except RunnerError:
        raise
    except StudyError as error:
        problems = "; ".join(map(str, error.problems))
        return JobOutcome(job=job, state=NO_DATA if error.is_absent_data else NOT_COMPLETED, reason=problems)
    except InputError as error:
        return JobOutcome(job=job, state=NOT_COMPLETED, reason=str(error))
    except Exception:  # noqa: BLE001 -- an error in the suite or in a user's class must not stop the other studies
        return JobOutcome(job=job, state=NOT_COMPLETED, reason=traceback.format_exc())
    if failed := outcome.counts[TrialStatus.FAILED]:
        noun = "trial" if failed == 1 else "trials"
        them = "it" if failed == 1 else "them"
        reason = f"{failed} {noun} failed; `ablate retry {job.directory}` makes {them} pending again"
        return JobOutcome(job=job, state=WITH_FAILED, reason=reason)
    return JobOutcome(job=job, state=COMPLETE)


def _count_ended_trials(directory: Path, study: Study) -> int:
    """Count the planned trials that have ended; return 0 if the ledger cannot be read or holds another plan."""
    wanted = study.to_dict()
    try:
        with open_ledger(directory) as ledger:
            counts, planned = ledger.counts(), ledger.study_content()
            if any(planned.get(key) != wanted.get(key) for key in _TRIAL_KEYS):
                return 0
    except LedgerError:  # the error is raised again when the study is run
        return 0
    return count_ended(counts)

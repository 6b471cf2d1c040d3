"""Many studies one after the other, in order of cost: what goes wrong with one is told, and the next one begins."""

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
from experiments.text import duration
from experiments.trials.trial import TrialStatus, count_finished

from .run import Outcome

COMPLETE, WITH_FAILED, NOT_FINISHED = "complete", "with failed trials", "could not be finished"
NO_DATA, LEFT_OUT = "without its data", "left out"
_OF_CELLS = ("base", "factors", "design", "exclude", "folds", "mechanisms")
"""Keys of a study, of which a change makes other trials."""

STATES = (COMPLETE, WITH_FAILED, NOT_FINISHED, NO_DATA, LEFT_OUT)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A study, its folder, and how long what it still lacks is expected to take; None where its file does not say.

    cost: the same for all of the study, by which jobs are put in order.
    """

    study: Study
    directory: Path
    minutes_left: float | None
    cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What came of a job: one of STATES, and why where it is not complete."""

    job: Job
    state: str
    why: str = ""


def job_of(entry: Entry, study: Study, directory: Path) -> Job:
    """The job of a study of the catalogue, which may have other seeds than its file.

    What is expected is the file's minutes, by the share of its seeds that are asked for, and of the trials that the
    folder's ledger does not hold yet.
    """
    if entry.minutes is None:
        return Job(study=study, directory=directory, minutes_left=None, cost=None)
    cost = entry.minutes * len(study.seeds) / entry.num_seeds
    num_trials = entry.num_cells * len(study.seeds)
    left = max(0, num_trials - _num_ended(directory, study))
    return Job(study=study, directory=directory, minutes_left=cost * left / num_trials, cost=cost)


def by_cost(jobs: Iterable[Job]) -> list[Job]:
    """The jobs, cheap ones first, those of unknown cost last."""
    return sorted(jobs, key=lambda job: (float("inf") if job.cost is None else job.cost, job.study.name))


def run_all(
    jobs: Sequence[Job],
    train: Callable[[Job], Outcome],
    tell: Callable[[str], None],
    *,
    after: Callable[[], None] = lambda: None,
    budget_seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Ended]:
    """Train the studies of all jobs in this order, and return what came of each.

    With a budget, a study that is expected to take more than what is left of it is left out, and so is one that does
    not say what it takes. A study that has begun is finished: to end it early would lose the groups in training.

    Arguments:
        jobs: in the order in which they are run.
        train: trains one, and writes its report.
        tell: is given a line now and then.
        after: called after each study that was begun.
        budget_seconds: for all of them.
        clock: seconds that only grow.

    Raises:
        RunnerError: when the runner is gone, on which the next study would fail too.
        KeyboardInterrupt: on Ctrl-C; what has ended is on disk.
    """
    started_at = clock()
    ended = []
    for number, job in enumerate(jobs, start=1):
        left = None if budget_seconds is None else budget_seconds - (clock() - started_at)
        if left is not None and (why := _why_left_out(job, left)) is not None:
            ended.append(Ended(job=job, state=LEFT_OUT, why=why))
            continue
        expected = "" if job.minutes_left is None else f", about {duration(60 * job.minutes_left)}"
        tell(f"\n{number} of {len(jobs)}: {job.study.name}{expected if job.minutes_left else ''}")
        ended.append(_ended(job, train))
        if ended[-1].state != COMPLETE:
            tell(f"{job.study.name}: {ended[-1].state}: {ended[-1].why.rstrip()}")
        after()
    return ended


def parse_budget(text: str) -> float:
    """Seconds of a time such as 90s, 30m or 2h.

    >>> parse_budget("30m"), parse_budget("1.5h")
    (1800.0, 5400.0)

    Raises:
        InputError: when it is no such time, or none at all.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise InputError(f"--budget {text}: write a time above 0 as 90s, 30m or 2h")
    return float(found[1]) * _SECONDS[found[2]]


def summary_lines(ended: Sequence[Ended]) -> list[str]:
    """How many studies came to what, and why the others are not complete: a line for those of one reason."""
    counts = {state: sum(each.state == state for each in ended) for state in STATES}
    noun = "study" if len(ended) == 1 else "studies"
    parts = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in ended:
        if each.state != COMPLETE:
            last = each.why.strip().splitlines()[-1]
            reasons.setdefault((each.state, last), []).append(each.job.study.name)
    lines = [f"- {', '.join(names)} ({state}): {why}" for (state, why), names in reasons.items()]
    return [f"{len(ended)} {noun}: {parts}", *lines]


def _why_left_out(job: Job, seconds: float) -> str | None:
    """Why a job does not fit what is left of a budget; None where it does."""
    left = f"{duration(seconds)} of the budget are left" if seconds > 0 else "nothing of the budget is left"
    if job.minutes_left is None:
        return f"its file does not say how long it takes (`minutes`), and {left}"
    if job.minutes_left and 60 * job.minutes_left > seconds:
        return f"it takes about {duration(60 * job.minutes_left)}, and {left}"
    return None


def _ended(job: Job, train: Callable[[Job], Outcome]) -> Ended:
    try:
        outcome = train(job)
    except RunnerError:
        raise
    except StudyError as error:
        problems = "; ".join(map(str, error.problems))
        return Ended(job=job, state=NO_DATA if error.is_absent_data else NOT_FINISHED, why=problems)
    except InputError as error:
        return Ended(job=job, state=NOT_FINISHED, why=str(error))
    except Exception:  # noqa: BLE001 -- a fault of ours or of a user's class must not cost the other studies
        return Ended(job=job, state=NOT_FINISHED, why=traceback.format_exc())
    if failed := outcome.counts[TrialStatus.FAILED]:
        noun = "trial" if failed == 1 else "trials"
        why = f"{failed} {noun} failed; `ablate retry {job.directory}` puts failed trials back"
        return Ended(job=job, state=WITH_FAILED, why=why)
    return Ended(job=job, state=COMPLETE)


def _num_ended(directory: Path, study: Study) -> int:
    """How many planned trials of a folder have ended; 0 where there is no ledger that can be read, or another plan."""
    wanted = study.to_dict()
    try:
        with open_ledger(directory) as ledger:
            counts, planned = ledger.counts(), ledger.study_content()
            if any(planned.get(key) != wanted.get(key) for key in _OF_CELLS):
                return 0
    except LedgerError:  # the study's own turn says what is wrong with it
        return 0
    return count_finished(counts)

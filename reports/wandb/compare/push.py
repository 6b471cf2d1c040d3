"""Runs of W&B made from the ledger, at any time: what W&B lacks or has otherwise, and the run of the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import InputError
from experiments.ledger.study_folder import open_ledger
from experiments.trials.trial import TrialStatus
from reports.wandb.destination import OFFLINE, Place, remember
from reports.wandb.live.sink import WandbSink

from .verify import Checked, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push did.

    written: the trials whose runs were made now.
    num_removed: how many runs of earlier plans were removed.
    num_there: how many trials W&B had whole before.
    counts: planned trials by status.
    has_report: whether there is a run with the study's report; not before a trial has finished.
    url: the project's page; None offline.
    """

    written: tuple[str, ...]
    num_removed: int
    num_there: int
    counts: Mapping[TrialStatus, int]
    has_report: bool
    url: str | None


def push(directory: Path, place: Place) -> Pushed:
    """Make W&B hold every trial of the ledger that has ended, once and whole, and the study's report.

    Pushing again writes the report alone. Trials that have not ended are not in W&B, and the report's run says so.

    Arguments:
        directory: the study's folder.
        place: where runs go; remembered.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
        InputError: when W&B does not take a run; what it had taken stays, and the same call goes on.
    """
    with open_ledger(directory) as ledger:
        counts = ledger.counts()
    with WandbSink(directory, place, console=None) as sink:
        sink.wait_until_ready()
        checked = verify(directory, place)
        planned = [run for run in checked if run.is_planned]
        missing = [run.trial_id for run in planned if _is_to_be_written(run)]
        remember(directory, place)
        for run in checked:
            if not run.is_planned:
                sink.remove(run.trial_id, run.others)
            elif _is_to_be_written(run):
                sink.send_trial(run.trial_id, replaces=[*run.whole, *run.others])
            elif run.difference is not None:
                sink.remove(run.trial_id, [*run.whole[1:], *run.others])
        has_report = counts[TrialStatus.FINISHED] > 0 and _write_report(directory)
        if has_report:
            sink.send_report()
    _raise_what_failed(sink, missing, has_report=has_report, directory=directory, place=place)
    return Pushed(
        written=tuple(missing),
        num_removed=sum(len(run.others) for run in checked if not run.is_planned),
        num_there=len(planned) - len(missing),
        counts=counts,
        has_report=has_report,
        url=sink.url,
    )


def _is_to_be_written(run: Checked) -> bool:
    """Whether W&B has it nowhere whole, or the files of a run twice, which cannot be told apart by the run's id."""
    ids = [*run.whole, *run.others]
    return not run.whole or len(set(ids)) < len(ids)


def _write_report(directory: Path) -> bool:
    """Whether there is a report now: none, where no trial logged the study's metric."""
    from reports.write import write_report

    try:
        write_report(directory)
    except InputError:
        return False
    return True


def _raise_what_failed(sink: WandbSink, missing: list[str], *, has_report: bool, directory: Path, place: Place) -> None:
    if sink.problem is None:
        return
    num_lacking = len(set(missing) - set(sink.written))
    lacking = [f"{num_lacking} of {len(missing)} runs"] if num_lacking else []
    lacking += ["the report"] if has_report and "report" not in sink.written else []
    taken = f"{' and '.join(lacking)} not taken" if lacking else "all runs were taken"
    offline = "" if place.mode == OFFLINE else "; `--wandb offline` writes files that need no network"
    raise InputError(
        f"W&B: {sink.problem}; {taken}. The same command goes on "
        f"from there{offline}. The ledger in {directory} is as it was"
    )

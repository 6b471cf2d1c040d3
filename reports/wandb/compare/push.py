"""`ablate wandb push`: write runs that W&B lacks or that differ from the ledger, and the run of the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import InputError
from experiments.ledger.study_folder import open_ledger
from experiments.trials.trial import TrialStatus
from reports.wandb.destination import OFFLINE, Destination, save_destination
from reports.wandb.live.sink import WandbSink

from .verify import RunCheck, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """Result of a push.

    written: trials whose runs were written.
    num_deleted: number of deleted runs of earlier plans.
    num_unchanged: number of trials whose runs already equalled the ledger.
    counts: number of planned trials by status.
    has_report: whether the study's report was written, which needs a finished trial.
    url: page of the project; None offline.
    """

    written: tuple[str, ...]
    num_deleted: int
    num_unchanged: int
    counts: Mapping[TrialStatus, int]
    has_report: bool
    url: str | None


def push(directory: Path, destination: Destination) -> PushResult:
    """Write one run for each trial that has ended, and the study's report.

    Runs that equal the ledger are not written again; the report is. Trials that have not ended get no run, and the name
    of the report's run says so.

    Args:
        directory: study folder.
        destination: destination of the runs; saved in the folder.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
        InputError: if W&B refuses a run. The same call continues after the runs that were written.
    """
    with open_ledger(directory) as ledger:
        counts = ledger.counts()
    with WandbSink(directory, destination, console=None) as sink:
        sink.wait_until_ready()
        checked = verify(directory, destination)
        planned = [run for run in checked if run.is_planned]
        missing = [run.trial_id for run in planned if _needs_run(run)]
        save_destination(directory, destination)
        for run in checked:
            if not run.is_planned:
                sink.delete_runs(run.trial_id, run.others)
            elif _needs_run(run):
                sink.send_trial(run.trial_id, replaced_ids=[*run.matching, *run.others])
            elif run.difference is not None:
                sink.delete_runs(run.trial_id, [*run.matching[1:], *run.others])
        has_report = counts[TrialStatus.FINISHED] > 0 and _write_report(directory)
        if has_report:
            sink.send_report()
    _raise_if_failed(sink, missing, has_report=has_report, directory=directory, destination=destination)
    return PushResult(
        written=tuple(missing),
        num_deleted=sum(len(run.others) for run in checked if not run.is_planned),
        num_unchanged=len(planned) - len(missing),
        counts=counts,
        has_report=has_report,
        url=sink.url,
    )


def _needs_run(run: RunCheck) -> bool:
    """Return whether W&B has no equal run of a trial, or two folders of files with one run id."""
    ids = [*run.matching, *run.others]
    return not run.matching or len(set(ids)) < len(ids)


def _write_report(directory: Path) -> bool:
    """Write the report and return True; return False if no trial has logged the study's metric."""
    from reports.write import write_report

    try:
        write_report(directory)
    except InputError:
        return False
    return True


def _raise_if_failed(
    sink: WandbSink, missing: list[str], *, has_report: bool, directory: Path, destination: Destination
) -> None:
    if sink.problem is None:
        return
    num_missing = len(set(missing) - set(sink.written))
    refused = [f"{num_missing} of {len(missing)} runs"] if num_missing else []
    refused += ["the report"] if has_report and "report" not in sink.written else []
    state = f"{' and '.join(refused)} not written" if refused else "all runs were written"
    offline = "" if destination.mode == OFFLINE else "; `--wandb offline` writes files and needs no network"
    raise InputError(
        f"W&B: {sink.problem}; {state}. The same command continues from there{offline}. The ledger in {directory} is "
        "unchanged"
    )

"""Training of one trial in this process, in a folder that other processes and machines use at the same time.

The folder's lock is held only to plan and to record, so any number of these calls may train at once. The first result
of a trial is kept, and a later one does not count. A call that is killed leaves its trial to any other call.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import DirectoryError, InputError
from experiments.ledger.study_folder import TRIALS, check_folder, lock_folder, open_ledger, write_study_file
from experiments.runners import Done, Emitted, Event, Raised, Runner, Started, Task
from experiments.study.parse import load_study
from experiments.study.study import Study
from experiments.trials.trial import Group, Plan, Result, Trial, TrialStatus

from .driver import train_group
from .find_trial import find_trial
from .options import RunOptions
from .reported_epochs import ReportedEpochs
from .run import check_data, check_names, make_runner, plan_on, read_versions, use_data_dir
from .sinks import Sink

WAIT_SECONDS = 60.0  # for other calls, each of which holds the lock for less than a second
_RESULT_WAIT_FACTOR = 10  # to record a result, which is worth a longer wait
_RELEASE_WAIT_SECONDS = 5.0  # a cluster kills soon after it asked the process to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOutcome:
    """Outcome of a call of `run_trial`.

    row: the trial as `Ledger.trial` returns it: status, metrics, error and the rest.
    was_trained: this call trained the trial; False where it had a result already.
    is_counted: the result is that of this call; False where another process recorded one first.
    """

    trial: Trial
    directory: Path
    row: Mapping[str, Any]
    was_trained: bool
    is_counted: bool

    @property
    def has_failed(self) -> bool:
        """Return True if the trial's result is an error."""
        return bool(self.row["status"] == TrialStatus.FAILED)


def run_trial(
    study: Study | str | Path,
    trial: str,
    directory: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    sinks: Sequence[Sink] = (),
    wait_seconds: float = WAIT_SECONDS,
) -> TrialOutcome:
    """Train one trial of a study in this process, unfused, and record it in the folder's ledger.

    The folder's plan may gain trials of this study, but it never loses any: only `run` removes trials from it.

    Args:
        study: a Study, or what `load_study` takes.
        trial: the trial's id, or its levels and seed; see `find_trial`.
        directory: the study's folder; runs/<study> by default. Many calls may share it, on all machines that see it.
        data_dir: folder of the data sets; the environment variable ABLATE_DATA_DIR by default, else data/.
        sinks: observers; `on_ended` is called only if the result counts.
        wait_seconds: how long to wait for other calls to plan or record; ten times as long to record a result.

    Raises:
        InputError: the study, the trial, the folder or its ledger is wrong, or `run` holds the folder.
        KeyboardInterrupt: on Ctrl-C; the trial is pending again.
    """
    study = study if isinstance(study, Study) else load_study(study)
    directory = Path(directory) if directory is not None else Path("runs") / study.name
    check_names()
    check_folder(directory, study)
    with use_data_dir(data_dir), make_runner(RunOptions(runner="inline"), [study]) as runner:
        plan = plan_on(runner, study)
        chosen = find_trial(plan.trials, trial, study, directory)
        for sink in sinks:
            sink.on_data_notes(plan.notes)
        attempt = _start(study, plan, chosen, directory, wait_seconds)
        if attempt.number is None:
            return TrialOutcome(trial=chosen, directory=directory, row=attempt.row, was_trained=False, is_counted=False)
        for sink in sinks:
            sink.on_planned(attempt.counts, [Group(trials=(chosen,))], runner.num_slots)
        with contextlib.ExitStack() as on_error:
            on_error.callback(_release, chosen, attempt.number, directory)
            result = _train(chosen, directory, runner, sinks)
            is_counted, row = _record(chosen, attempt.number, result, directory, wait_seconds)
            on_error.pop_all()
    if is_counted:
        for sink in sinks:
            sink.on_ended(chosen, result)
    return TrialOutcome(trial=chosen, directory=directory, row=row, was_trained=True, is_counted=is_counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """Attempt at a trial.

    number: counted from 1; None where the trial has a result already.
    row: the trial as it is in the ledger.
    counts: number of trials by status.
    """

    number: int | None
    row: Mapping[str, Any]
    counts: Mapping[TrialStatus, int]


def _start(study: Study, plan: Plan, trial: Trial, directory: Path, wait_seconds: float) -> _Attempt:
    with lock_folder(directory, wait_seconds=wait_seconds), open_ledger(directory, writable=True) as ledger:
        ledger.check_study(study.name)
        check_data(ledger, plan, directory)
        before = ledger.planned_ids()
        if trial.trial_id not in before:
            missing = before - {each.trial_id for each in plan.trials}
            if missing:
                raise InputError(
                    f"{directory}: holds another plan of {study.name!r}, with {len(missing)} trials that this one does "
                    "not have; give the --seeds and --set of that plan, another folder with --out, or change the plan "
                    "of the folder with `ablate run`"
                )
            ledger.plan(study.name, study.to_dict(), plan.trials, plan.notes, plan.fingerprints, keep_running=True)
            write_study_file(directory, study)
        row = ledger.trial(trial.trial_id)
        number = None
        if not TrialStatus(row["status"]).has_ended:
            number = ledger.start(trial.trial_id, read_versions())
        return _Attempt(number=number, row=row, counts=ledger.counts())


def _train(trial: Trial, directory: Path, runner: Runner, sinks: Sequence[Sink]) -> Result:
    ends: list[Event] = []
    reported = ReportedEpochs()

    def handle(event: Event) -> None:
        if isinstance(event, Started):
            for sink in sinks:
                sink.on_started(trial)
        elif isinstance(event, Emitted):
            reported.add(event.message)
            for sink in sinks:
                sink.on_epoch_ended(trial, event.message)
        else:
            ends.append(event)

    argument = (Group(trials=(trial,)), directory.absolute() / TRIALS)
    runner.run([Task(key=trial.trial_id, function=train_group, argument=argument)], handle)
    (end,) = ends
    if isinstance(end, Done):
        return reported.complete(trial.trial_id, dict(end.value)[trial.trial_id])
    error = end.traceback if isinstance(end, Raised) else repr(end)
    return reported.complete(trial.trial_id, Result(status=TrialStatus.FAILED, error=error))


def _record(
    trial: Trial, attempt: int, result: Result, directory: Path, wait_seconds: float
) -> tuple[bool, dict[str, Any]]:
    try:
        with (
            lock_folder(directory, wait_seconds=_RESULT_WAIT_FACTOR * wait_seconds),
            open_ledger(directory, writable=True) as ledger,
        ):
            is_counted = ledger.record_attempt(trial.trial_id, attempt, result)
            return is_counted, ledger.trial(trial.trial_id)
    except DirectoryError as error:
        raise DirectoryError(f"{trial.trial_id} ended as {result.status} but is not recorded: {error}") from error


def _release(trial: Trial, attempt: int, directory: Path) -> None:
    """Set the trial to pending, if possible. Otherwise it looks like one that was killed, which any call trains."""
    with (
        contextlib.suppress(InputError),
        lock_folder(directory, wait_seconds=_RELEASE_WAIT_SECONDS),
        open_ledger(directory, writable=True) as ledger,
    ):
        ledger.release(trial.trial_id, attempt)

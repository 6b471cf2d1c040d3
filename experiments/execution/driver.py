"""Training of groups through a runner: results go to the ledger first, then to the sinks."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import InputError, LedgerError
from experiments.ledger.ledger import Ledger
from experiments.runners import Done, Emitted, Event, Lost, Raised, Runner, Started, Task, TimedOut
from experiments.trials.trial import Group, NotFused, PartLost, Result, Trial, TrialStatus

from .options import RunOptions
from .reported_epochs import ReportedEpochs
from .schedule import Schedule, count_slots
from .sinks import Sink


class Driver:
    """Trainer of groups, with one transaction per group.

    A group whose worker is lost is requeued, and gives the same results. After too many retries, or where it cannot be
    fused after all, each of its trials is trained separately. An unfused trial that is lost too often, or exceeds the
    timeout, has failed.

    Args:
        ledger: holds the trials, pending; only this process writes to it.
        directory: folder for the files of the user's callbacks, with a folder for each trial.
        sinks: observers, called after the ledger is written.
        versions: versions of Python and of the packages that train, as JSON.
        options: timeout, retries, and whether it is an error when a group cannot be fused after all.
    """

    def __init__(
        self, ledger: Ledger, directory: Path, sinks: Sequence[Sink], versions: str, options: RunOptions
    ) -> None:
        self.num_ended = 0
        self._options = options
        self._ledger = ledger
        self._directory = directory
        self._sinks = sinks
        self._versions = versions
        self._schedule = Schedule([], 1)
        self._has_wide_groups = False
        self._running: dict[str, Group] = {}
        self._unwritten: list[tuple[Trial, Result]] = []
        self._reported = ReportedEpochs()
        self._num_requeued: Counter[tuple[str, ...]] = Counter()  # by the trials of a group

    def train(self, groups: Sequence[Group], runner: Runner) -> None:
        """Train all groups. After an error, the results of the ended trials are on disk and the others are pending."""
        self._ledger.record_unfused(
            {group.trials[0].trial_id: group.reason_not_fusable for group in groups if group.reason_not_fusable}
        )
        for sink in self._sinks:
            sink.on_planned(self._ledger.counts(), groups, runner.num_slots)
        self._schedule = Schedule(groups, runner.num_slots, self._ledger.expected_seconds)
        self._has_wide_groups = any(count_slots(group) > 1 for group in groups)
        with contextlib.ExitStack() as on_error:
            on_error.callback(self._release)
            while self._schedule:
                runner.run(map(self._make_task, self._schedule), self._handle)
            on_error.pop_all()

    def _release(self) -> None:
        """Write the results of ended trials, and set running ones to pending."""
        with contextlib.suppress(LedgerError):  # the ledger's disk may be full, which caused the error: all are pending
            self._write()
            self._ledger.release()

    def _make_task(self, group: Group) -> Task:
        """Make the task of a group, after writing all results so far."""
        self._write()
        key = group.trials[0].trial_id
        self._running[key] = group
        seconds = self._options.timeout_seconds
        return Task(
            key=key,
            function=train_group,
            argument=(group, self._directory),
            timeout_seconds=None if seconds is None else seconds * len(group.trials),
            num_slots=count_slots(group),
        )

    def _handle(self, event: Event) -> None:
        group = self._running[event.key]
        if isinstance(event, Started):
            self._start(group)
        elif isinstance(event, Emitted):
            (trial,) = (trial for trial in group.trials if trial.trial_id == event.message.trial_id)
            self._reported.add(event.message)
            for sink in self._sinks:
                sink.on_epoch_ended(trial, event.message)
        else:
            del self._running[event.key]
            self._handle_end(group, event)

    def _handle_end(self, group: Group, event: Done | Raised | Lost | TimedOut) -> None:
        if isinstance(event, Lost):
            self._handle_loss(group, event.reason)
        elif isinstance(event, TimedOut):
            self._handle_failure(group, f"took longer than the {event.seconds:g} s that --timeout gives")
        elif isinstance(event, Raised):
            self._handle_failure(group, event.traceback)
        elif isinstance(event.value, NotFused):
            self._unfuse(group, event.value.reason)
        elif isinstance(event.value, PartLost):
            self._handle_loss(group, event.value.reason)
        else:
            results = dict(event.value)
            self._handle_results(group, [(trial, results[trial.trial_id]) for trial in group.trials])

    def _start(self, group: Group) -> None:
        for trial in group.trials:
            self._ledger.start(trial.trial_id, self._versions)
            self._reported.start(trial.trial_id)
            for sink in self._sinks:
                sink.on_started(trial)

    def _handle_results(self, group: Group, results: Sequence[tuple[Trial, Result]]) -> None:
        results = [(trial, self._reported.complete(trial.trial_id, result)) for trial, result in results]
        (_, first), *others = results
        may_retry = not others and first.status == TrialStatus.FAILED and self._options.retry_errors
        if not (may_retry and self._requeue(group, TrialStatus.FAILED, first.error or "")):
            self._record(results)

    def _handle_loss(self, group: Group, reason: str) -> None:
        if not self._requeue(group, "lost", reason):
            self._handle_failure(group, reason)

    def _handle_failure(self, group: Group, error: str) -> None:
        if group.is_fused:
            self._unfuse(group, f"the fused group failed: {error.strip().splitlines()[-1]}")
        else:
            self._handle_results(group, [(group.trials[0], Result(status=TrialStatus.FAILED, error=error))])

    def _requeue(self, group: Group, status: str, reason: str) -> bool:
        """Put a group back into the schedule, unchanged; return False where no retry is left."""
        ids = tuple(trial.trial_id for trial in group.trials)
        self._num_requeued[ids] += 1
        if self._num_requeued[ids] > self._options.num_retries:
            return False
        self._ledger.requeue(ids, status, reason)
        self._schedule.add(group)
        for trial in group.trials:
            for sink in self._sinks:
                sink.on_requeued(trial, reason)
        return True

    def _unfuse(self, group: Group, reason: str) -> None:
        if self._options.fuse == "always":
            raise InputError(f"--fuse always: {len(group.trials)} trials cannot be fused\n{reason}")
        self._ledger.record_unfused({trial.trial_id: reason for trial in group.trials})
        for trial in group.trials:
            self._schedule.add(Group(trials=(trial,), reason_not_fusable=reason))
            for sink in self._sinks:
                sink.on_unfused(trial, reason)

    def _record(self, results: Sequence[tuple[Trial, Result]]) -> None:
        """Collect results, to be written with others that arrive at the same time, before the next task is made.

        Results of many slots so wait for the disk once. They are written at once where no next task may be made:
        because none is left, or because one waits until several slots are free.
        """
        self._unwritten += results
        if not self._schedule or self._has_wide_groups:
            self._write()

    def _write(self) -> None:
        results, self._unwritten = self._unwritten, []
        if not results:
            return
        self._ledger.record({trial.trial_id: result for trial, result in results})
        self.num_ended += len(results)
        for trial, result in results:
            for sink in self._sinks:
                sink.on_ended(trial, result)


def train_group(argument: tuple[Group, Path], emit: Any) -> list[tuple[str, Result]] | NotFused | PartLost:
    """Train a group in a worker and return its results by trial id. It imports torch, which the command does not."""
    from experiments.training.caller_state import preserve_caller_state

    # A trial that changes the working directory must not change it for the next trial, or for the command.
    with preserve_caller_state(), contextlib.chdir("."):
        return _train(*argument, emit)


def _train(group: Group, directory: Path, emit: Any) -> list[tuple[str, Result]] | NotFused | PartLost:
    if group.is_fused:
        from experiments.fusing import train_fused

        return train_fused(group.trials, emit)
    from experiments.training.multi_device import RankLostError
    from experiments.training.train import Training, train_trial

    (trial,) = group.trials
    try:
        return [(trial.trial_id, train_trial(Training(trial=trial, directory=directory), emit))]
    except RankLostError as error:
        return PartLost(reason=str(error))

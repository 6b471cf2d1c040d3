"""Groups of trials through a runner, and what comes back into the ledger first and then to everything that watches."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import InputError, LedgerError
from experiments.ledger.ledger import Ledger
from experiments.runners import Done, Event, Lost, Raised, Runner, Said, Started, Task, TimedOut
from experiments.trials.trial import Group, NotFused, PartLost, Result, Trial, TrialStatus

from .options import RunOptions
from .reported_epochs import ToldEpochs
from .schedule import Waiting, num_slots_of
from .sinks import Sink


class Driver:
    """Trains groups, one transaction a group.

    A group whose worker is lost is trained again as it is, and gives the same results; when that was tried often
    enough, or it cannot be trained together after all, each of its trials is trained alone. A trial alone that is lost
    too often, or takes too long, has failed.

    Arguments:
        ledger: which holds the trials, pending; the only writer is this process.
        directory: a folder for what the user's callbacks write, a folder a trial.
        sinks: told after the ledger.
        versions: of what trains, for the ledger.
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
        self._waiting = Waiting([], 1)
        self._some_take_several = False
        self._running: dict[str, Group] = {}
        self._unwritten: list[tuple[Trial, Result]] = []
        self._told = ToldEpochs()
        self._num_tries: Counter[tuple[str, ...]] = Counter()  # those that came to nothing, by the trials of a group

    def train(self, groups: Sequence[Group], runner: Runner) -> None:
        """Return when every trial has ended; when it raises, what has ended is on disk and the rest is pending."""
        self._ledger.record_unfused(
            {group.trials[0].trial_id: group.reason_not_fusable for group in groups if group.reason_not_fusable}
        )
        for sink in self._sinks:
            sink.on_planned(self._ledger.counts(), groups, runner.num_slots)
        self._waiting = Waiting(groups, runner.num_slots, self._ledger.expected_seconds)
        self._some_take_several = any(num_slots_of(group) > 1 for group in groups)
        with contextlib.ExitStack() as at_an_error:
            at_an_error.callback(self._release)
            while self._waiting:
                runner.run(map(self._task, self._waiting), self._handle)
            at_an_error.pop_all()

    def _release(self) -> None:
        """Put what has ended on disk, and what is running back to pending."""
        with contextlib.suppress(LedgerError):  # a full disk, perhaps, which is what ended this: they are pending
            self._write()
            self._ledger.release()

    def _task(self, group: Group) -> Task:
        """The next piece of work; what has ended by now is on disk first."""
        self._write()
        key = group.trials[0].trial_id
        self._running[key] = group
        seconds = self._options.timeout_seconds
        return Task(
            key=key,
            function=train_group,
            argument=(group, self._directory),
            timeout_seconds=None if seconds is None else seconds * len(group.trials),
            num_slots=num_slots_of(group),
        )

    def _handle(self, event: Event) -> None:
        group = self._running[event.key]
        if isinstance(event, Started):
            self._started(group)
        elif isinstance(event, Said):
            (trial,) = (trial for trial in group.trials if trial.trial_id == event.message.trial_id)
            self._told.add(event.message)
            for sink in self._sinks:
                sink.on_epoch_ended(trial, event.message)
        else:
            del self._running[event.key]
            self._over(group, event)

    def _over(self, group: Group, event: Done | Raised | Lost | TimedOut) -> None:
        if isinstance(event, Lost):
            self._lost(group, event.reason)
        elif isinstance(event, TimedOut):
            self._failed(group, f"took longer than the {event.seconds:g} s that --timeout gives")
        elif isinstance(event, Raised):
            self._failed(group, event.traceback)
        elif isinstance(event.value, NotFused):
            self._separate(group, event.value.reason)
        elif isinstance(event.value, PartLost):
            self._lost(group, event.value.reason)
        else:
            results = dict(event.value)
            self._ended(group, [(trial, results[trial.trial_id]) for trial in group.trials])

    def _started(self, group: Group) -> None:
        for trial in group.trials:
            self._ledger.start(trial.trial_id, self._versions)
            self._told.begin(trial.trial_id)
            for sink in self._sinks:
                sink.on_started(trial)

    def _ended(self, group: Group, results: Sequence[tuple[Trial, Result]]) -> None:
        results = [(trial, self._told.completed(trial.trial_id, result)) for trial, result in results]
        (_, first), *others = results
        may_again = not others and first.status == TrialStatus.FAILED and self._options.retry_errors
        if not (may_again and self._again(group, TrialStatus.FAILED, first.error or "")):
            self._record(results)

    def _lost(self, group: Group, reason: str) -> None:
        if not self._again(group, "lost", reason):
            self._failed(group, reason)

    def _again(self, group: Group, status: str, reason: str) -> bool:
        """Put a group back as it is, unless that was done often enough."""
        ids = tuple(trial.trial_id for trial in group.trials)
        self._num_tries[ids] += 1
        if self._num_tries[ids] > self._options.num_retries:
            return False
        self._ledger.requeue(ids, status, reason)
        self._waiting.put(group)
        for trial in group.trials:
            for sink in self._sinks:
                sink.on_requeued(trial, reason)
        return True

    def _failed(self, group: Group, error: str) -> None:
        if group.is_fused:
            self._separate(group, f"together they failed: {error.strip().splitlines()[-1]}")
        else:
            self._ended(group, [(group.trials[0], Result(status=TrialStatus.FAILED, error=error))])

    def _record(self, results: Sequence[tuple[Trial, Result]]) -> None:
        """Have results written: with those that come at the same time, before the next task is asked for.

        So results of many slots wait for the disk once. Where no task will be asked for, because none is left or one
        waits for several slots, they are written at once.
        """
        self._unwritten += results
        if not self._waiting or self._some_take_several:
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

    def _separate(self, group: Group, reason: str) -> None:
        if self._options.fuse == "always":
            raise InputError(f"--fuse always: {len(group.trials)} trials cannot be trained together\n{reason}")
        self._ledger.record_unfused({trial.trial_id: reason for trial in group.trials})
        for trial in group.trials:
            self._waiting.put(Group(trials=(trial,), reason_not_fusable=reason))
            for sink in self._sinks:
                sink.on_unfused(trial, reason)


def train_group(argument: tuple[Group, Path], emit: Any) -> list[tuple[str, Result]] | NotFused | PartLost:
    """What a worker does with a group: results by trial id. It imports torch, which the command does not."""
    from experiments.training.caller_state import kept_caller_state

    # A trial that goes to another folder must not take the next one, or the command, with it.
    with kept_caller_state(), contextlib.chdir("."):
        return _trained(*argument, emit)


def _trained(group: Group, directory: Path, emit: Any) -> list[tuple[str, Result]] | NotFused | PartLost:
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

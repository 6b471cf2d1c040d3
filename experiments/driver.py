"""Groups of trials through a runner, and what comes back into the ledger first and then to everything that watches."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from .errors import InputError
from .ledger import Ledger
from .runners import Done, Event, Lost, Raised, Runner, Said, Started, Task
from .trial import FAILED, EpochEnded, Group, NotFused, Result, Trial


class Sink(Protocol):
    """Something that watches a study being run, in the command's own process: a progress bar, a dashboard."""

    def noted(self, notes: Sequence[str]) -> None:
        """What the study's data modules say of their data; comes first, and with nothing where they say nothing."""

    def planned(self, counts: Mapping[str, int], groups: Sequence[Group], num_places: int) -> None:
        """Trials by status before anything runs, the groups that will be trained now, and how many at a time."""

    def started(self, trial: Trial) -> None:
        """A trial has a place."""

    def epoch_ended(self, trial: Trial, event: EpochEnded) -> None:
        """An epoch is over."""

    def separated(self, trial: Trial, reason: str) -> None:
        """A trial that was being trained together with others begins again, alone, later."""

    def ended(self, trial: Trial, result: Result) -> None:
        """A trial is over and its result is on disk."""


class Driver:
    """Trains groups, one transaction a group.

    A group that cannot be trained together after all, or whose worker died, is trained again, each trial alone.

    Arguments:
        ledger: which holds the trials, pending; the only writer is this process.
        directory: a folder for what the user's callbacks write, a folder a trial.
        sinks: told after the ledger.
        versions: of what trains, for the ledger.
        must_fuse: whether it is an error when a group cannot be trained together after all.
    """

    def __init__(
        self, ledger: Ledger, directory: Path, sinks: Sequence[Sink], versions: str, *, must_fuse: bool = False
    ) -> None:
        self.num_ended = 0
        self._must_fuse = must_fuse
        self._ledger = ledger
        self._directory = directory
        self._sinks = sinks
        self._versions = versions
        self._waiting: dict[str, Group] = {}
        self._again: dict[str, Group] = {}

    def train(self, groups: Sequence[Group], runner: Runner) -> None:
        """Return when every trial has ended; when it raises, what has ended is on disk and the rest is pending."""
        for group in groups:
            if group.why_alone is not None:
                self._ledger.separate(group.trials[0].trial_id, group.why_alone)
        for sink in self._sinks:
            sink.planned(self._ledger.counts(), groups, runner.num_places)
        self._waiting = {group.trials[0].trial_id: group for group in groups}
        try:
            while self._waiting:
                runner.run(self._tasks(), self._handle)
                self._waiting, self._again = self._again, {}
        finally:
            self._ledger.release()

    def _tasks(self) -> Iterator[Task]:
        for key, group in self._waiting.items():
            yield Task(key=key, function=train_group, argument=(group, self._directory))

    def _handle(self, event: Event) -> None:
        group = self._waiting[event.key]
        trials = {trial.trial_id: trial for trial in group.trials}
        if isinstance(event, Started):
            for trial in group.trials:
                self._ledger.start(trial.trial_id, self._versions)
                for sink in self._sinks:
                    sink.started(trial)
        elif isinstance(event, Said):
            for sink in self._sinks:
                sink.epoch_ended(trials[event.message.trial_id], event.message)
        elif isinstance(event, Done) and isinstance(event.value, NotFused):
            self._separate(group, event.value.reason)
        elif isinstance(event, Done):
            self._record([(trials[trial_id], result) for trial_id, result in event.value])
        else:
            self._failed(group, event)

    def _failed(self, group: Group, event: Raised | Lost) -> None:
        error = event.reason if isinstance(event, Lost) else event.traceback
        if group.is_fused:
            self._separate(group, f"together they failed: {error.strip().splitlines()[-1]}")
        else:
            self._record([(group.trials[0], Result(status=FAILED, error=error))])

    def _record(self, results: Sequence[tuple[Trial, Result]]) -> None:
        self._ledger.record({trial.trial_id: result for trial, result in results})
        self.num_ended += len(results)
        for trial, result in results:
            for sink in self._sinks:
                sink.ended(trial, result)

    def _separate(self, group: Group, reason: str) -> None:
        if self._must_fuse:
            raise InputError(f"--fuse always: {len(group.trials)} trials cannot be trained together\n{reason}")
        for trial in group.trials:
            self._ledger.separate(trial.trial_id, reason)
            self._again[trial.trial_id] = Group(trials=(trial,), why_alone=reason)
            for sink in self._sinks:
                sink.separated(trial, reason)


def train_group(argument: tuple[Group, Path], emit: Any) -> list[tuple[str, Result]] | NotFused:
    """What a worker does with a group: results by trial id. It imports torch, which the command does not."""
    group, directory = argument
    if group.is_fused:
        from .fusing import train_together

        return train_together(group.trials, emit)
    from .train import Training, train_trial

    (trial,) = group.trials
    return [(trial.trial_id, train_trial(Training(trial=trial, directory=directory), emit))]

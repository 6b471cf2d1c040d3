"""Epochs that trials have reported, kept for trials that fail: those return no result, and may be killed."""

from collections.abc import Mapping
from dataclasses import replace

from experiments.trials.trial import EpochEnded, Result, TrialStatus


class ReportedEpochs:
    """Metrics of the epochs of the trials in training.

    >>> reported = ReportedEpochs()
    >>> reported.start("t")
    >>> reported.add(EpochEnded(trial_id="t", epoch=0, metrics={"val/acc": 0.5}))
    >>> reported.complete("t", Result(status=TrialStatus.FAILED, error="boom")).epochs
    ({'val/acc': 0.5},)
    """

    def __init__(self) -> None:
        self._epochs: dict[str, list[Mapping[str, float]]] = {}

    def start(self, trial_id: str) -> None:
        """Start a trial, and forget the epochs of an earlier attempt."""
        self._epochs[trial_id] = []

    def add(self, event: EpochEnded) -> None:
        """Add an epoch of a trial."""
        epochs = self._epochs.setdefault(event.trial_id, [])
        epochs.extend({} for _ in range(event.epoch + 1 - len(epochs)))
        epochs[event.epoch] = event.metrics

    def complete(self, trial_id: str, result: Result) -> Result:
        """End a trial: return its result, with the epochs that it reported where it failed."""
        epochs = self._epochs.pop(trial_id, [])
        if result.status != TrialStatus.FAILED or result.epochs:
            return result
        return replace(result, epochs=tuple(epochs))

"""What trials told while they trained, kept for those that fail: they return nothing themselves, and may be killed."""

from collections.abc import Mapping
from dataclasses import replace

from experiments.trials.trial import EpochEnded, Result, TrialStatus


class ToldEpochs:
    """The epochs of the trials that are being trained.

    >>> told = ToldEpochs()
    >>> told.begin("t")
    >>> told.add(EpochEnded(trial_id="t", epoch=0, metrics={"val/acc": 0.5}))
    >>> told.completed("t", Result(status=TrialStatus.FAILED, error="boom")).epochs
    ({'val/acc': 0.5},)
    """

    def __init__(self) -> None:
        self._epochs: dict[str, list[Mapping[str, float]]] = {}

    def begin(self, trial_id: str) -> None:
        """A trial begins, perhaps again: what it told before is void."""
        self._epochs[trial_id] = []

    def add(self, event: EpochEnded) -> None:
        """An epoch of it is over."""
        epochs = self._epochs.setdefault(event.trial_id, [])
        epochs.extend({} for _ in range(event.epoch + 1 - len(epochs)))
        epochs[event.epoch] = event.metrics

    def completed(self, trial_id: str, result: Result) -> Result:
        """Its result, with the epochs that it told where it failed; it is over then."""
        epochs = self._epochs.pop(trial_id, [])
        if result.status != TrialStatus.FAILED or result.epochs:
            return result
        return replace(result, epochs=tuple(epochs))

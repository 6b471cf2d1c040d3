"""Means over an epoch of what the steps of T trials logged, weighted by batch size."""

from collections.abc import Mapping

from torch import Tensor

from .step import Logged


class Means:
    """Adds up what comes; one number a trial and metric goes out."""

    def __init__(self, num_trials: int) -> None:
        self._num_trials = num_trials
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, logged: Mapping[str, Logged]) -> None:
        """Take in one step."""
        for name, entry in logged.items():
            weighted = entry.value * entry.batch_size
            if name in self._sums:
                total, weight = self._sums[name]
                self._sums[name] = (total + weighted, weight + entry.batch_size)
            else:
                self._sums[name] = (weighted, entry.batch_size)

    def of_trials(self) -> list[dict[str, float]]:
        """The means so far: for each trial, metric -> mean."""
        columns = {name: (total / weight).tolist() for name, (total, weight) in self._sums.items()}
        return [{name: values[place] for name, values in columns.items()} for place in range(self._num_trials)]

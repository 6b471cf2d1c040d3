"""Metrics of T trials in one epoch: means weighted by batch size, single steps as a logger sees them, epoch metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from experiments.training.epoch_metrics import Metrics

from .step import Logged


@dataclass(frozen=True, slots=True)
class TrialMetrics:
    """Metrics of one trial in one epoch.

    for_loggers: what loggers get.
    for_callbacks: what only callbacks see.
    """

    for_loggers: Metrics
    for_callbacks: Metrics


class LoggedMetrics:
    """Accumulator of logged values; the names of its metrics are those that the Lightning Trainer gives.

    Args:
        num_trials: T.
        log_every_n_steps: loggers get the values of every n-th training step.
        first_step: number of the epoch's first training step, counted over all epochs.
    """

    def __init__(self, num_trials: int, log_every_n_steps: int = 0, first_step: int = 0) -> None:
        self._num_trials = num_trials
        self._every = log_every_n_steps
        self._step = first_step
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._both: set[str] = set()
        self._last: dict[str, Tensor] = {}
        self._recorded: dict[str, Tensor] = {}
        self._of_epoch: dict[int, Metrics] = {}

    def add(self, logged: Mapping[str, Logged]) -> None:
        """Add the values of one step."""
        self._step += 1
        for name, entry in logged.items():
            options = entry.options
            if options.on_step:
                step_name = f"{name}_step" if options.on_epoch else name
                self._last[step_name] = entry.value
                if self._every and self._step % self._every == 0:
                    self._recorded[step_name] = entry.value
            if not options.on_epoch:
                continue
            if options.on_step:
                self._both.add(name)
            weighted = entry.value * options.batch_size
            if name in self._sums:
                total, weight = self._sums[name]
                self._sums[name] = (total + weighted, weight + options.batch_size)
            else:
                self._sums[name] = (weighted, options.batch_size)

    def add_epoch_metrics(self, index: int, metrics: Mapping[str, Tensor]) -> None:
        """Add the metrics that one trial computes over the whole epoch."""
        self._of_epoch[index] = {name: float(value) for name, value in metrics.items()}

    def split_by_trial(self) -> list[TrialMetrics]:
        """Return the metrics of each trial, (T,)."""
        means = {name: (total / weight).tolist() for name, (total, weight) in self._sums.items()}
        steps = {name: values.tolist() for name, values in self._recorded.items()}
        last = {name: values.tolist() for name, values in self._last.items()}
        metrics = []
        for index in range(self._num_trials):
            for_loggers = {
                f"{name}_epoch" if name in self._both else name: values[index] for name, values in means.items()
            }
            for_loggers |= {name: values[index] for name, values in steps.items()} | self._of_epoch.get(index, {})
            for_callbacks = {name: values[index] for name, values in last.items()}
            for_callbacks |= {name: means[name][index] for name in self._both}
            metrics.append(TrialMetrics(for_loggers, for_callbacks))
        return metrics

"""What T trials logged in an epoch: means weighted by batch size, single steps as a logger sees them, and what is
measured over the epoch as a whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from experiments.training.epoch_metrics import Metrics

from .step import Logged


@dataclass(frozen=True, slots=True)
class Seen:
    """One trial's epoch. recorded: what loggers get; last: what callbacks see beside it, logged or not."""

    recorded: Metrics
    last: Metrics


class Means:
    """Adds up what comes; one number a trial and metric goes out, under the names that the Lightning Trainer gives.

    Arguments:
        num_trials: T.
        every: of the training steps that were logged singly, loggers get each of this number (`log_every_n_steps`).
        first_step: the number of the epoch's first training step in the whole training.
    """

    def __init__(self, num_trials: int, every: int = 0, first_step: int = 0) -> None:
        self._num_trials = num_trials
        self._every = every
        self._step = first_step
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._both: set[str] = set()
        self._last: dict[str, Tensor] = {}
        self._recorded: dict[str, Tensor] = {}
        self._of_epoch: dict[int, Metrics] = {}

    def add(self, logged: Mapping[str, Logged]) -> None:
        """Take in one step."""
        self._step += 1
        for name, entry in logged.items():
            if entry.options.on_step:
                step_name = f"{name}_step" if entry.options.on_epoch else name
                self._last[step_name] = entry.value
                if self._every and self._step % self._every == 0:
                    self._recorded[step_name] = entry.value
            if not entry.options.on_epoch:
                continue
            if entry.options.on_step:
                self._both.add(name)
            weighted = entry.value * entry.options.batch_size
            if name in self._sums:
                total, weight = self._sums[name]
                self._sums[name] = (total + weighted, weight + entry.options.batch_size)
            else:
                self._sums[name] = (weighted, entry.options.batch_size)

    def add_epoch(self, place: int, metrics: Mapping[str, Tensor]) -> None:
        """Take in what is measured over the epoch of one trial."""
        self._of_epoch[place] = {name: float(value) for name, value in metrics.items()}

    def of_trials(self) -> list[Seen]:
        """One for each trial."""
        means = {name: (total / weight).tolist() for name, (total, weight) in self._sums.items()}
        steps = {name: values.tolist() for name, values in self._recorded.items()}
        last = {name: values.tolist() for name, values in self._last.items()}
        seen = []
        for place in range(self._num_trials):
            recorded = {
                f"{name}_epoch" if name in self._both else name: values[place] for name, values in means.items()
            }
            recorded |= {name: values[place] for name, values in steps.items()} | self._of_epoch.get(place, {})
            others = {name: values[place] for name, values in last.items()}
            seen.append(Seen(recorded, others | {name: means[name][place] for name in self._both}))
        return seen

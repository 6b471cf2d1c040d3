"""Outputs of evaluation steps, kept until the end of an epoch for metrics that are no means of its batches, such as F1.

A LightningModule may have a method `epoch_metrics`, see experiments/training/epoch_metrics.py. In a fused group its
hooks that collect outputs are not called. The method is called once for each trial on that trial's module. The proof
compares the two.

Only tensors whose first axis is the batch are kept, from steps that return a mapping; other steps have no metrics of an
epoch and cost nothing. T trials, B batch, N examples of an epoch.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


class EpochOutputs:
    """Outputs of T trials in one epoch.

    Args:
        num_batches: of the epoch.
        budget: bytes that the outputs may take.
    """

    def __init__(self, num_batches: int, budget: int) -> None:
        self._num_batches = num_batches
        self._budget = budget
        self._batches: list[Mapping[str, Tensor]] = []

    def add(self, outputs: Mapping[str, Tensor]) -> None:
        """Keep the outputs of a batch, (T, B, ...) each.

        Raises:
            MemoryError: an epoch of batches like the first would take more than the budget.
        """
        if not self._batches:
            needed = self._num_batches * sum(tensor.nbytes for tensor in outputs.values())
            if needed > self._budget:
                raise MemoryError(f"the outputs of evaluation need {needed} of {self._budget} bytes")
        self._batches.append(outputs)

    def select_trial(self, index: int) -> dict[str, Tensor]:
        """Return the outputs of one trial, (N, ...) each; none for an epoch without batches."""
        if not self._batches:
            return {}
        return {name: torch.cat([batch[name][index] for batch in self._batches]) for name in self._batches[0]}

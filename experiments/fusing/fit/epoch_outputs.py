"""Metrics of an epoch that are no means of its batches, such as F1: what steps return, kept until the epoch's end.

A LightningModule may have a method `epoch_metrics`, see experiments/training/steps.py. In a fused group its hooks that
collect outputs are not called; the method is, once a trial, on that trial's own module. The proof compares the two.

Kept is what a step returns in a mapping as a tensor whose first axis is the batch; a step that returns nothing of the
kind has no metrics of an epoch, and pays nothing. T trials, B batch, N examples of an epoch.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


class Outputs:
    """Collects the outputs of T trials.

    Arguments:
        num_batches: of the epoch.
        budget: bytes that they may take.
    """

    def __init__(self, num_batches: int, budget: int) -> None:
        self._num_batches = num_batches
        self._budget = budget
        self._batches: list[Mapping[str, Tensor]] = []

    def add(self, outputs: Mapping[str, Tensor]) -> None:
        """Take in a batch, (T, B, ...) each.

        Raises:
            MemoryError: when an epoch of batches like the first would take more than the budget.
        """
        if not self._batches:
            needed = self._num_batches * sum(tensor.nbytes for tensor in outputs.values())
            if needed > self._budget:
                raise MemoryError(f"what evaluation returns needs {needed} of {self._budget} bytes")
        self._batches.append(outputs)

    def of_trial(self, place: int) -> dict[str, Tensor]:
        """(N, ...) each, of the trial at a place; nothing of an epoch without batches."""
        if not self._batches:
            return {}
        return {name: torch.cat([batch[name][place] for batch in self._batches]) for name in self._batches[0]}

"""Metrics of an epoch that are no means of its batches, such as F1: what steps return, kept until the epoch's end.

A LightningModule may have a method

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]

from what its validation_step or test_step returned of each example, all batches of the epoch one after the other, to
named scalars. Its hooks on_{validation,test}_{epoch_start,batch_end,epoch_end} do nothing then but collect these
outputs and log these metrics, which is what happens when it is trained alone. Together, the hooks are not called, and
`epoch_metrics` is, once a trial on that trial's own module. The proof compares the two.

Kept is what a step returns in a mapping as a tensor whose first axis is the batch; a step that returns nothing of the
kind has no metrics of an epoch, and pays nothing. T trials, B batch, N examples of an epoch.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from .nested import first_size


def has_epoch_metrics(model: LightningModule) -> bool:
    """Whether a module has that method."""
    return callable(getattr(model, "epoch_metrics", None))


def of_examples(output: Any, batch: Any) -> dict[str, Tensor]:
    """Of what a step returned, the tensors (B, ...)."""
    size = first_size(batch)
    given = output if isinstance(output, Mapping) else {}
    return {
        name: value.detach()
        for name, value in given.items()
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == size
    }


def measured(model: LightningModule, split: str, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A module's metrics of an epoch. outputs: (N, ...) each; no outputs have no metrics."""
    if not outputs:
        return {}
    with torch.no_grad():
        return {name: torch.as_tensor(value) for name, value in model.epoch_metrics(split, outputs).items()}  # type: ignore[operator]


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

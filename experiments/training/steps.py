"""A module's steps without a Trainer: how they are called, how many examples they read, and what they return of each.

A LightningModule may have a method

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]

from what its validation_step or test_step returned of each example, all batches of the epoch one after the other, to
named scalars: metrics of an epoch that are no means of its batches, such as F1. Its hooks
on_{validation,test}_{epoch_start,batch_end,epoch_end} do nothing then but collect these outputs and log these metrics.
B batch, N examples of an epoch.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor


def call_step(module: LightningModule, name: str, batch: Any, batch_idx: int) -> Any:
    """What a step returns; like the Trainer, without the number of the batch where the step does not take it."""
    step = getattr(module, name)
    takes_number = len(inspect.signature(step).parameters) > 1
    return step(batch, batch_idx) if takes_number else step(batch)


def first_size(batch: Any) -> int:
    """The number of examples in a batch: the first axis of its first tensor."""
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.dim() else 1
    if isinstance(batch, Mapping):
        return first_size(next(iter(batch.values())))
    return first_size(batch[0])


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

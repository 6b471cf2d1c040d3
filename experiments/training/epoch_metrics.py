"""Metrics of a whole epoch that are no means of its batches, such as F1.

A LightningModule may have a method

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]

from what its validation_step or test_step returned of each example, all batches of the epoch concatenated, to named
scalars. Its hooks on_{validation,test}_{epoch_start,batch_end,epoch_end} then do nothing but collect these outputs and
log these metrics. B batch, N examples of an epoch.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from .step_harness import first_size

Metrics = dict[str, float]
"""Values by the name of their metric."""


def has_epoch_metrics(model: LightningModule) -> bool:
    """Return whether a module has that method."""
    return callable(getattr(model, "epoch_metrics", None))


def example_outputs(output: Any, batch: Any) -> dict[str, Tensor]:
    """Select from what a step returned the tensors (B, ...) with one entry for each example."""
    size = first_size(batch)
    given = output if isinstance(output, Mapping) else {}
    return {
        name: value.detach()
        for name, value in given.items()
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == size
    }


def compute_epoch_metrics(model: LightningModule, split: str, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute a module's metrics of an epoch; none without outputs. outputs: (N, ...) each."""
    if not outputs:
        return {}
    with torch.no_grad():
        return {name: torch.as_tensor(value) for name, value in model.epoch_metrics(split, outputs).items()}  # type: ignore[operator]

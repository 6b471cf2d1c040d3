"""How many trials the memory holds: from what one of them keeps for its backward pass."""

from typing import Any

import psutil
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from experiments.fusing.fit.step_capture import default_dtype
from experiments.training.steps import first_size

from .proof import step_alone

MOST_ON_CPU = 2**30
"""Bytes for the state of a group on a CPU; more trials at once gain nothing there, and a worker stays below 2 GB."""

COPIES = 6
"""Parameters, gradients, two moments of Adam, the models they were stacked from and what an update needs in passing."""


class Need:
    """What one trial of a group takes.

    Arguments:
        model: of one trial; it makes one step and is used up.
        batch: a training batch of it.
    """

    def __init__(self, model: LightningModule, batch: Any) -> None:
        state = [*model.parameters(), *model.buffers()]
        own = {tensor.untyped_storage().data_ptr() for tensor in state}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        dtype = next(model.parameters()).dtype
        with default_dtype(dtype), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            step_alone(model, batch)
        self._per_example = sum(kept.values()) // first_size(batch) + 1
        self._state = COPIES * sum(tensor.nbytes for tensor in state)
        self._batch_size = first_size(batch)

    def bytes_of(self, num_trials: int) -> int:
        """Of proving that many together, which takes more than training: activations and their gradients in double."""
        return num_trials * (self._state + 4 * self._per_example * self._batch_size)

    def rows_at_once(self, num_columns: int, batch_size: int, budget: int) -> int:
        """How many rows can be evaluated at once on batches of that size; a layer holds a few such in passing."""
        return max(1, budget // (4 * num_columns * batch_size * self._per_example))


def budget_of(device: torch.device) -> int:
    """Bytes that a group may take on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(0.8 * free)
    return min(MOST_ON_CPU, psutil.virtual_memory().available // (2 * (psutil.cpu_count() or 1)))

"""Memory of a fused group, estimated from what one of its trials keeps for its backward pass."""

from typing import Any

import psutil
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from experiments.training.step_harness import default_dtype, first_size

from .step_capture import run_unfused_step

MAX_ON_CPU = 2**30
"""Bytes for the state of a group on a CPU; more trials at once gain nothing there, and a worker stays below 2 GB."""

_NUM_COPIES = 6
"""Parameters, gradients, two moments of Adam, the models they were stacked from, temporary tensors of an update."""


class MemoryEstimate:
    """Bytes that the trials of a group take, and how many fit.

    Args:
        model: of one trial; it makes one step and is used up.
        batch: one training batch of it.
        budget: bytes that the group may take.
    """

    def __init__(self, model: LightningModule, batch: Any, budget: int) -> None:
        self.budget = budget
        state = [*model.parameters(), *model.buffers()]
        of_state = {tensor.untyped_storage().data_ptr() for tensor in state}
        saved: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in of_state:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        dtype = next(model.parameters()).dtype
        with default_dtype(dtype), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            run_unfused_step(model, batch)
        self._bytes_per_example = sum(saved.values()) // first_size(batch) + 1
        self._state_bytes = _NUM_COPIES * sum(tensor.nbytes for tensor in state)
        self._batch_size = first_size(batch)

    def estimate_bytes(self, num_trials: int) -> int:
        """Return the bytes of proving a group, more than of training it: activations and gradients are in double."""
        return num_trials * (self._state_bytes + 4 * self._bytes_per_example * self._batch_size)

    def count_rows_at_once(self, num_columns: int, batch_size: int) -> int:
        """Return how many rows are evaluated at once; a layer needs a few batches of so many rows temporarily."""
        return max(1, self.budget // (4 * num_columns * batch_size * self._bytes_per_example))


def find_budget(device: torch.device) -> int:
    """Return the bytes that a group may take on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(0.8 * free)
    return min(MAX_ON_CPU, psutil.virtual_memory().available // (2 * (psutil.cpu_count() or 1)))

"""Modules that learn something before they are trained, as in layer-wise pretraining: each alone, before it is stacked.

A LightningModule may have a method

    def pretrain(self, batches: Iterable[Any]) -> None

that changes values of its parameters and buffers and nothing else, from the batches of one epoch: those of the data
module's `pretraining_dataloader` where it has one, else of its `train_dataloader`. Its hook `on_fit_start` does nothing
but call it, which is what happens when it is trained alone. Together, the hook is not called, and `pretrain` is, once a
trial on that trial's own module; the trials are then stacked and proven from where it leaves them.
"""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from experiments.training.seeding import GeneratorStates
from experiments.training.streams import TrialStreams

from .nested_tensors import mapped


def has_pretraining(model: LightningModule) -> bool:
    """Whether a module has that method, and its `on_fit_start` is the one that belongs to it.

    A class further down that has a hook of its own without a method of its own does something else there, and a method
    of this name without a hook is something else altogether.
    """
    if type(model).on_fit_start is LightningModule.on_fit_start:
        return False
    kinds = type(model).__mro__
    own = {
        name: next((place for place, kind in enumerate(kinds) if name in vars(kind)), len(kinds))
        for name in ("pretrain", "on_fit_start")
    }
    return callable(getattr(model, "pretrain", None)) and own["pretrain"] <= own["on_fit_start"]


class PretrainingBatches:
    """The batches of one epoch on a device, read when they are first asked for, in the data's own streams of a seed.

    Arguments:
        data: set up.
        streams: of the trials that it is for, which share a seed.
        device: where the batches go.
    """

    def __init__(self, data: LightningDataModule, streams: TrialStreams, device: torch.device) -> None:
        self._data, self._streams, self._device = data, streams, device
        self._batches: list[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        if self._batches is None:
            states = GeneratorStates.now()
            self._batches = self._read()
            states.restore()
        return iter(self._batches)

    def _read(self) -> list[Any]:
        self._streams.late()
        loader = getattr(self._data, "pretraining_dataloader", self._data.train_dataloader)()
        self._streams.order(0)
        return [mapped(self._moved, batch) for batch in loader]

    def _moved(self, x: Tensor) -> Tensor:
        return x.to(self._device)

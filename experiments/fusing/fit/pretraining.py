"""Pretraining of modules, such as layer-wise pretraining, before they are stacked.

A LightningModule may have a method

    def pretrain(self, batches: Iterable[Any]) -> None

that changes values of its parameters and buffers and nothing else, from the batches of one epoch: those of the data
module's `pretraining_dataloader` if it has one, else of its `train_dataloader`. Its hook `on_fit_start` does nothing
but call this method, which is what happens in unfused training. In fused training the hook is not called; `pretrain` is
called once for each trial on that trial's module, and the trials are stacked and proven from there.
"""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from experiments.fusing.reading.nested_tensors import map_tensors
from experiments.training.seeding import GeneratorStates
from experiments.training.streams import TrialStreams


def has_pretraining(model: LightningModule) -> bool:
    """Return whether a module has that method, and the `on_fit_start` that belongs to it.

    A subclass that overrides the hook alone does something else there, and a method of this name without a hook is
    something else altogether.
    """
    if type(model).on_fit_start is LightningModule.on_fit_start:
        return False
    kinds = type(model).__mro__
    depth = {
        name: next((depth for depth, kind in enumerate(kinds) if name in vars(kind)), len(kinds))
        for name in ("pretrain", "on_fit_start")
    }
    return callable(getattr(model, "pretrain", None)) and depth["pretrain"] <= depth["on_fit_start"]


class PretrainingBatches:
    """Batches of one epoch on a device, read at their first use in the data's own streams of a seed.

    Args:
        data: set up.
        streams: of the seed's trials.
        device: of the batches.
    """

    def __init__(self, data: LightningDataModule, streams: TrialStreams, device: torch.device) -> None:
        self._data, self._streams, self._device = data, streams, device
        self._batches: list[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        if self._batches is None:
            states = GeneratorStates.capture()
            self._batches = self._read()
            states.restore()
        return iter(self._batches)

    def _read(self) -> list[Any]:
        self._streams.late()
        loader = getattr(self._data, "pretraining_dataloader", self._data.train_dataloader)()
        self._streams.order(0)
        return [map_tensors(self._to_device, batch) for batch in loader]

    def _to_device(self, x: Tensor) -> Tensor:
        return x.to(self._device)

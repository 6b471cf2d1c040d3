"""Separate random streams of data and model while a Trainer runs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from .loader_hooks import change_loaders
from .seeding import GeneratorStates
from .streams import TrialStreams


class PairedStreams(Callback):
    """Callback that separates the draws of the data from those of the model: all models of a seed get the same data.

    By default the global generators (torch, numpy, Python) are in the model's state, so that a module draws from its
    own stream in every step and hook; it restarts for each epoch. While a loader's iterator is made and a batch is
    fetched, they are in the data's state, which restarts for each training epoch and goes on through its validation.
    With worker processes in a DataLoader the data's draws happen there, seeded from the data's state.

    On a GPU, data that draws on the device shares the model's generator.

    Args:
        streams: of the trial.
        owner: of the loaders: the data module, or the module that brings its own.
    """

    def __init__(self, streams: TrialStreams, owner: object) -> None:
        self.streams = streams
        self._data: GeneratorStates | None = None
        self._first_epoch: GeneratorStates | None = None
        self._trainer: Trainer | None = None
        if getattr(owner, "uses_global_generators", True):
            for name in ("train", "val", "test"):
                change_loaders(owner, name, partial(self._change, name))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start the stream of late layers, after the data module's setup and before the model's."""
        self._trainer = trainer
        self.streams.late()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue the first epoch's data from where its iterator was made, whatever was read since for pretraining."""
        self._data = self._first_epoch or self._data

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the model's stream of this epoch, a different one on each device of the trial."""
        self.streams.dropout(trainer.current_epoch, trainer.global_rank)

    def read(self, loader_iter: Callable[[], Iterator[Any]], split: str) -> Iterator[Any]:
        """Iterate over the batches of a loader, each fetched in the data's state."""
        if split == "train":
            epoch = 0 if self._trainer is None else self._trainer.current_epoch
            self._data = self.streams.order_states(epoch)
        elif split == "test" or self._data is None:
            self._data = self.streams.order_states(split)
        batches = _fetch(self._in_data_state(loader_iter), self._in_data_state)
        if split == "train":
            self._first_epoch = self._data
        return batches

    def _in_data_state(self, work: Callable[[], Any]) -> Any:
        model_states = GeneratorStates.capture()
        if self._data is not None:
            self._data.restore()
        try:
            return work()
        finally:
            self._data = GeneratorStates.capture()
            model_states.restore()

    def _change(self, split: str, loader: DataLoader[Any]) -> None:
        """Make the iterators of a loader fetch in the data's state."""
        kind = type(loader)

        def iterate(loader: Any) -> Iterator[Any]:
            return self.read(partial(kind.__iter__, loader), split)

        # In place, so that code that reads the loader's class and attributes still finds them.
        loader.__class__ = type(kind.__name__, (kind,), {"__iter__": iterate, "__module__": kind.__module__})


def _fetch(batches: Iterator[Any], run: Callable[[Callable[[], Any]], Any]) -> Iterator[Any]:
    """Yield batches, each fetched through a function."""
    end = object()
    while (batch := run(partial(next, batches, end))) is not end:
        yield batch

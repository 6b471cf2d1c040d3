"""Streams of data and of model kept apart while a Trainer runs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from .loader_hooks import change_loaders
from .seeding import GeneratorStates
from .streams import TrialStreams


class PairedStreams(Callback):
    """Keeps what the data draws apart from what the model draws, so that data is the same for every model of a seed.

    At rest, the global generators (torch, numpy, Python) are in the model's state, so that whatever a module draws, in
    a step or in any hook, is its own; it restarts for each epoch. While a loader's iterator is made and a batch is
    fetched, they are in the data's state, which restarts for each training epoch and goes on through its validation.
    With worker processes in a DataLoader the data's draws happen there, seeded from the data's state.

    On a GPU, data that draws on the device shares the model's generator.

    Arguments:
        streams: of the trial.
        owner: the data module, or the module that brings its own dataloaders; its loaders are listened to.
    """

    def __init__(self, streams: TrialStreams, owner: object) -> None:
        self.streams = streams
        self._data: GeneratorStates | None = None
        self._begun: GeneratorStates | None = None
        self._trainer: Trainer | None = None
        if getattr(owner, "uses_global_generators", True):
            for name in ("train", "val", "test"):
                change_loaders(owner, name, partial(self._change, name))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After the data module's setup, before the model's: what the model makes late comes from its own stream."""
        self._trainer = trainer
        self.streams.late()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first epoch goes on from where its iterator was made, whatever was read since, as for pretraining."""
        self._data = self._begun or self._data

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The model's stream of this epoch begins, another on each device that the trial has."""
        self.streams.dropout(trainer.current_epoch, trainer.global_rank)

    def read(self, loader_iter: Callable[[], Iterator[Any]], split: str) -> Iterator[Any]:
        """The batches of a loader, each fetched in the data's state."""
        if split == "train":
            epoch = 0 if self._trainer is None else self._trainer.current_epoch
            self._data = self.streams.order_states(epoch)
        elif split == "test" or self._data is None:
            self._data = self.streams.order_states(split)
        batches = _fetch(self._on_data(loader_iter), self._on_data)
        if split == "train":
            self._begun = self._data
        return batches

    def _on_data(self, work: Callable[[], Any]) -> Any:
        models = GeneratorStates.now()
        if self._data is not None:
            self._data.restore()
        try:
            return work()
        finally:
            self._data = GeneratorStates.now()
            models.restore()

    def _change(self, split: str, loader: DataLoader[Any]) -> None:
        """Let the iterators of a loader fetch in the data's state."""
        kind = type(loader)

        def iterate(loader: Any) -> Iterator[Any]:
            return self.read(partial(kind.__iter__, loader), split)

        # The very loader, so that everything that looks at its class and attributes finds them.
        loader.__class__ = type(kind.__name__, (kind,), {"__iter__": iterate, "__module__": kind.__module__})


def _fetch(batches: Iterator[Any], on_data: Callable[[Callable[[], Any]], Any]) -> Iterator[Any]:
    """Yield batches, each fetched in the data's state."""
    end = object()
    while (batch := on_data(partial(next, batches, end))) is not end:
        yield batch

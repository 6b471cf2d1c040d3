"""Data sets that fit in memory: an epoch is a row of look-ups, in an order that a seed decides."""

from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ablation_suite.argument_checks import check_integer, is_integer
from datamodules.batches import Batches
from datamodules.splits import Split

Batch = tuple[Tensor, Tensor]
BatchSize = int | Literal["all"]
AnyT = TypeVar("AnyT")


class InMemoryDataModule(LightningDataModule):
    """What data sets in memory share: batches of looked-up examples, and the order in which a seed puts them.

    Batches are (inputs, target): (B, *input_shape), and (B,), int64. The order of training examples depends on the seed
    and the epoch alone. Neither reading an epoch nor anything else here draws from torch's global generator. Validation
    and test keep one order.

    The last, smaller batch of a training epoch is kept, except one of a single example, which batch norm cannot train
    on: see `Batches`. Batches of one example each are what `batch_size=1` asks for and are kept; batch norm cannot
    train on those.

    A subclass says which examples there are, `make_examples`, and which of them are for what, `make_split`.

    Args:
        batch_size: examples in a training batch, at least 1, or "all" for the whole training split in one batch.
        seed: at least 0; None takes `torch.initial_seed()`, so what `seed_everything` was given.
        eval_batch_size: examples in a validation or test batch, at least 1.

    Raises:
        ValueError: an argument is not accepted.
    """

    uses_global_generators: bool = False
    """Whether reading data draws from the global generators; a promise that lets many trials be read side by side."""

    def __init__(self, *, batch_size: BatchSize, seed: int | None, eval_batch_size: int) -> None:
        super().__init__()
        owner = type(self).__name__
        if batch_size != "all" and not is_integer(batch_size, minimum=1):
            raise ValueError(f"{owner}: batch_size is {batch_size!r}; accepted: an integer of at least 1, or 'all'")
        check_integer(owner, "eval_batch_size", eval_batch_size, minimum=1)
        if seed is not None:
            check_integer(owner, "seed", seed, minimum=0)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = torch.initial_seed() if seed is None else seed
        self._examples: Dataset[Any] | None = None

    @cached_property
    def split(self) -> Split:
        """Which examples train, validate and test."""
        return self.make_split()

    def make_split(self) -> Split:
        """Which examples train, validate and test: a function of the arguments and the seed. Called once an object."""
        raise NotImplementedError

    def make_examples(self) -> Dataset[Any]:
        """A data set that is asked for batches: indices (B,) of int64 -> (inputs, target). Called once an object."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:  # Lightning's signature
        """Read the data, unless they are there. The split is the same for every stage."""
        if self._examples is None:
            self._examples = self.make_examples()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training batches, shuffled anew in each epoch."""
        batch_size = len(self.split.train) if self.batch_size == "all" else self.batch_size
        return self._dataloader(Batches(self.split.train, batch_size, seed=self.seed, drop_single=True))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches in one order."""
        return self._dataloader(Batches(self.split.val, self.eval_batch_size))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches in one order."""
        return self._dataloader(Batches(self.split.test, self.eval_batch_size))

    def __getstate__(self) -> dict[str, Any]:
        # A copy, or what is sent to another process, sets itself up again: a message is to be small.
        return {**self.__dict__, "_examples": None}

    def _dataloader(self, batches: Batches) -> DataLoader[Batch]:
        if self._examples is None:
            raise RuntimeError(f"{type(self).__name__}: the data are not read yet; call setup() first")
        # Its own generator, because a DataLoader draws a seed for its workers, even if it has none.
        return DataLoader(
            self._examples, batch_size=None, sampler=batches, collate_fn=_identity, generator=torch.Generator()
        )


class TensorExamples(TensorDataset):
    """Inputs and targets, looked up a batch at a time; `index_select` is twice as fast as indexing on a CPU."""

    looks_up_batches = True
    """A promise that `dataset[indices]` is these rows of `dataset.tensors`, for who can look up more at once."""

    def __getitem__(self, indices: Tensor) -> Batch:
        inputs, target = self.tensors
        return inputs.index_select(0, indices), target.index_select(0, indices)


def _identity(batch: AnyT) -> AnyT:
    return batch

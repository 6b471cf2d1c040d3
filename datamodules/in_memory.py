"""Base class of data sets in memory."""

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
    """Base class of data sets in memory, with batches in an order that a seed determines.

    Batches are (inputs, target): (B, *input_shape), and (B,), int64. The order of training examples depends only on the
    seed and the epoch; the order of validation and test is fixed. Nothing here uses torch's global generator.

    The last, smaller batch of a training epoch is kept unless it has a single example, on which batch norm cannot
    train: see `Batches`. With `batch_size=1` all batches are kept, and batch norm cannot be used.

    A subclass overrides `make_examples` and `make_split`.

    Args:
        batch_size: examples in a training batch, at least 1, or "all" for the whole training split in one batch.
        seed: at least 0; None takes `torch.initial_seed()`, the seed given to `seed_everything`.
        eval_batch_size: examples in a validation or test batch, at least 1.

    Raises:
        ValueError: an argument is not accepted.
    """

    uses_global_generators: bool = False
    """Whether reading data uses the global generators. If not, the data of many trials can be read in turn."""

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
        """Return the indices of training, validation and test examples."""
        return self.make_split()

    def make_split(self) -> Split:
        """Return the split, as a function of the arguments and the seed. Called once per object."""
        raise NotImplementedError

    def make_examples(self) -> Dataset[Any]:
        """Return a data set that is indexed by batches: (B,), int64 -> (inputs, target). Called once per object."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:  # Lightning's signature
        """Read the data unless they have been read. The split is the same for every stage."""
        if self._examples is None:
            self._examples = self.make_examples()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return training batches, shuffled in each epoch."""
        batch_size = len(self.split.train) if self.batch_size == "all" else self.batch_size
        return self._make_dataloader(Batches(self.split.train, batch_size, seed=self.seed, drop_single=True))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return validation batches in a fixed order."""
        return self._make_dataloader(Batches(self.split.val, self.eval_batch_size))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return test batches in a fixed order."""
        return self._make_dataloader(Batches(self.split.test, self.eval_batch_size))

    def __getstate__(self) -> dict[str, Any]:
        # Copies in other processes read the data themselves, which keeps messages small.
        return {**self.__dict__, "_examples": None}

    def _make_dataloader(self, batches: Batches) -> DataLoader[Batch]:
        if self._examples is None:
            raise RuntimeError(f"{type(self).__name__}: the data have not been read yet; call setup() first")
        # With a generator, because a DataLoader draws a seed for its workers even if it has none.
        return DataLoader(
            self._examples, batch_size=None, sampler=batches, collate_fn=_identity, generator=torch.Generator()
        )


class TensorExamples(TensorDataset):
    """Inputs and targets, indexed by batches; on a CPU, `index_select` is twice as fast as indexing."""

    looks_up_batches = True
    """Whether `dataset[indices]` is these rows of `dataset.tensors`, so that callers may index these directly."""

    def __getitem__(self, indices: Tensor) -> Batch:
        inputs, target = self.tensors
        return inputs.index_select(0, indices), target.index_select(0, indices)


def _identity(batch: AnyT) -> AnyT:
    return batch

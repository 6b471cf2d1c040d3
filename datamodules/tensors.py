"""Data sets that fit in memory: an epoch is a row of look-ups in two tensors."""

from functools import partial
from typing import Any, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from datamodules.batches import Batches
from datamodules.splits import Size, Split, draw_split

Batch = tuple[Tensor, Tensor]
AnyT = TypeVar("AnyT")


class TensorDataModule(LightningDataModule):
    """A classification data set in memory, split and shuffled from a seed: the base of every one here, and of yours.

    A subclass says what is known without reading data, `input_shape`, `num_classes` and `pool_size`, and how to read
    them, `load`. Networks take the first two from here. Batches are (inputs, target): (B, *input_shape), float32, and
    (B,), int64.

    The split depends on the seed alone, and the order of training examples on the seed and the epoch alone. Neither
    reading an epoch nor anything else here draws from torch's global generator. Validation and test keep one order.

    The last, smaller batch of a training epoch is kept, except one of a single example, which batch norm cannot train
    on: see `Batches`.

    Args:
        batch_size: examples in a training batch, at least 1; more than there are makes one batch of all.
        train_size: a number of examples, or a fraction of the pool if it is a float between 0 and 1.
        val_size: likewise, or 0 for no validation.
        test_size: likewise, or 0 for no test; None for the examples after the pool, an official test set.
        seed: of split and order, at least 0; None takes `torch.initial_seed()`, so what `seed_everything` was given.
        eval_batch_size: examples in a validation or test batch, at least 1.

    Raises:
        ValueError: an argument is not accepted, or the sizes exceed the pool; the message has the numbers.

    >>> class Parity(TensorDataModule):
    ...     input_shape, num_classes, pool_size = (1,), 2, 100
    ...
    ...     def load(self):
    ...         numbers = torch.arange(100)
    ...         return numbers[:, None].float(), numbers % 2
    >>> data = Parity(batch_size=32, train_size=0.8, val_size=0.1, test_size=0.1, seed=1)
    >>> data.setup()
    >>> [len(target) for inputs, target in data.train_dataloader()]
    [32, 32, 16]
    """

    input_shape: tuple[int, ...]
    """The shape of one example."""

    num_classes: int
    """The number of classes; targets are 0, 1, ..., num_classes - 1."""

    pool_size: int
    """The number of examples that splits are drawn from, the first ones of `load`."""

    num_official_test: int = 0
    """The number of examples after the pool, for `test_size=None`."""

    uses_global_generators: bool = False
    """Whether reading data draws from the global generators; a promise that lets many trials be read side by side."""

    def __init__(
        self,
        *,
        batch_size: int,
        train_size: Size,
        val_size: Size,
        test_size: Size | None,
        seed: int | None = None,
        eval_batch_size: int = 1000,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        _check_integer(owner, "batch_size", batch_size, minimum=1)
        _check_integer(owner, "eval_batch_size", eval_batch_size, minimum=1)
        if seed is not None:
            _check_integer(owner, "seed", seed, minimum=0)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = torch.initial_seed() if seed is None else seed
        self.split = self._draw_split(train_size, val_size, test_size)
        self._examples: _Examples | None = None

    def load(self) -> Batch:
        """All examples: inputs (num_examples, *input_shape), float32, and target (num_examples,), int64.

        Called once for each object. A subclass that reads from disk keeps what it read for the whole process, as
        `Digits` and `MNIST` do: then the trials of one worker share it.
        """
        raise NotImplementedError(f"{type(self).__name__}: write load(self), which returns (inputs, target)")

    def setup(self, stage: str | None = None) -> None:  # Lightning's signature
        """Read the data, unless they are there. The split is the same for every stage."""
        if self._examples is None:
            self._examples = _Examples(*self.load())

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training batches, shuffled anew in each epoch."""
        return self._dataloader(Batches(self.split.train, self.batch_size, seed=self.seed, drop_single=True))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches in one order."""
        return self._dataloader(Batches(self.split.val, self.eval_batch_size))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches in one order."""
        return self._dataloader(Batches(self.split.test, self.eval_batch_size))

    def __getstate__(self) -> dict[str, Any]:
        # A copy, or what is sent to another process, sets itself up again: a message is to be small.
        return {**self.__dict__, "_examples": None}

    def _draw_split(self, train_size: Size, val_size: Size, test_size: Size | None) -> Split:
        owner = type(self).__name__
        draw = partial(
            draw_split, self.pool_size, train_size=train_size, val_size=val_size, seed=self.seed, owner=owner
        )
        if test_size is not None:
            return draw(test_size=test_size)
        if self.num_official_test == 0:
            raise ValueError(f"{owner}: test_size is None, but there is no official test set; give a size")
        official = torch.arange(self.pool_size, self.pool_size + self.num_official_test)
        return draw(test_size=0)._replace(test=official)

    def _dataloader(self, batches: Batches) -> DataLoader[Batch]:
        if self._examples is None:
            raise RuntimeError(f"{type(self).__name__}: the data are not read yet; call setup() first")
        # Its own generator, because a DataLoader draws a seed for its workers, even if it has none.
        return DataLoader(
            self._examples,  # type: ignore[arg-type]  # which is asked for batches and not for examples
            batch_size=None,
            sampler=batches,
            collate_fn=_identity,
            generator=torch.Generator(),
        )


class _Examples(TensorDataset):
    """Inputs and targets, looked up a batch at a time; `index_select` is twice as fast as indexing on a CPU."""

    looks_up_batches = True
    """A promise that `dataset[indices]` is these rows of `dataset.tensors`, for who can look up more at once."""

    def __getitem__(self, indices: Tensor) -> Batch:
        inputs, target = self.tensors
        return inputs.index_select(0, indices), target.index_select(0, indices)


def _check_integer(owner: str, name: str, value: object, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{owner}: {name} is {value!r}; accepted: an integer of at least {minimum}")


def _identity(batch: AnyT) -> AnyT:
    return batch

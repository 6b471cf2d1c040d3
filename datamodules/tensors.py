"""Data sets that are two tensors: inputs and targets."""

from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from ablation_suite.argument_checks import check_integer
from datamodules.batches import Batches
from datamodules.in_memory import Batch, BatchSize, InMemoryDataModule, TensorExamples
from datamodules.splits import Size, Split, check_folds, draw_fold, draw_split, which_fold
from datamodules.streams import Stream, permutation

TEST_SIZE = 0.15
"""Where neither a size nor folds are asked for and there is no official test set."""


class TensorDataModule(InMemoryDataModule):
    """A data set in memory, split and shuffled from a seed: the base of every one here, and of yours.

    A subclass says what is known without reading data, `input_shape`, `pool_size` and `num_classes` or `num_outputs`,
    and how to read them, `load`. Networks take shapes and numbers from here. Batches are (inputs, target): (B,
    *input_shape), float32, and (B,), int64 for classes; for regression (B, num_outputs), float32.

    The split depends on the seed alone, and the order of training examples on the seed and the epoch alone. Neither
    reading an epoch nor anything else here draws from torch's global generator. Validation and test keep one order.
    With `folds`, the test split is one fold of a cross-validation of the pool, stratified by class: seeds 0 to
    folds - 1 are its folds, the next `folds` seeds those of another partition, so trials of one seed have one fold,
    whatever their model.

    The last, smaller batch of a training epoch is kept, except one of a single example, which batch norm cannot train
    on: see `Batches`.

    Args:
        batch_size: examples in a training batch, at least 1; "all", or more than there are, makes one batch of all.
        train_size: a number of examples, or a fraction of the pool if it is a float between 0 and 1; None for what
            validation and test leave.
        val_size: likewise, or 0 for no validation; with folds, of the other folds.
        test_size: likewise, or 0 for no test; None for the fold, or the examples after the pool, an official test set,
            or where there is none 15 % of the pool.
        folds: the number of folds of a cross-validation; None for none.
        fold: the fold that tests, from 0; None takes the seed's.
        seed: of split and order, at least 0; None takes `torch.initial_seed()`, so what `seed_everything` was given.
        eval_batch_size: examples in a validation or test batch, at least 1.
        unlabelled_size: a number of examples that are in no split, for `pretraining_dataloader`.

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

    num_outputs: int
    """The numbers that are to be predicted of an example, where there are no classes."""

    pool_size: int
    """The number of examples that splits are drawn from, the first ones of `load`."""

    num_official_test: int = 0
    """The number of examples after the pool, for `test_size=None`."""

    def __init__(
        self,
        *,
        batch_size: BatchSize,
        val_size: Size,
        train_size: Size | None = None,
        test_size: Size | None = None,
        folds: int | None = None,
        fold: int | None = None,
        seed: int | None = None,
        eval_batch_size: int = 1000,
        unlabelled_size: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, eval_batch_size=eval_batch_size)
        check_folds(type(self).__name__, folds=folds, fold=fold, train_size=train_size, test_size=test_size)
        self._sizes = (train_size, val_size, test_size)
        self._folds, self._fold = folds, fold
        check_integer(type(self).__name__, "unlabelled_size", unlabelled_size, minimum=0)
        self._unlabelled_size = unlabelled_size
        if folds is None:
            _ = self.split, self.unlabelled  # sizes that are not accepted are told at once; folds look at the classes

    def load(self) -> tuple[Tensor, Tensor]:
        """All examples: inputs (num_examples, *input_shape), float32, and target (num_examples,), int64.

        Called once for each object. A subclass that reads from disk keeps what it read for the whole process, as
        `Digits` and `MNIST` do: then the trials of one worker share it.
        """
        raise NotImplementedError(f"{type(self).__name__}: write load(self), which returns (inputs, target)")

    def prepare_data(self) -> None:
        """Draw the folds, if there are any, since they look at the classes; sizes were looked at from the start.

        Raises:
            ValueError: a class has fewer examples than there are folds.
        """
        if self._folds is not None:
            _ = self.split

    @cached_property
    def loaded(self) -> tuple[Tensor, Tensor]:
        """What `load` gave."""
        return self.load()

    @cached_property
    def unlabelled(self) -> Tensor:
        """The examples of no split that a network may see before training: (unlabelled_size,), int64.

        They are the first that splits leave of the order in which these are drawn.
        """
        if self._unlabelled_size == 0:
            return torch.empty(0, dtype=torch.int64)
        order = permutation(self.pool_size, stream=Stream.SPLIT, seed=self.seed)
        left = order[~torch.isin(order, torch.cat(self.split))]
        if len(left) < self._unlabelled_size:
            raise ValueError(
                f"{type(self).__name__}: unlabelled_size is {self._unlabelled_size}, and the splits leave {len(left)} "
                f"of the pool of {self.pool_size} examples"
            )
        return left[: self._unlabelled_size].clone()

    def pretraining_dataloader(self) -> DataLoader[Batch]:
        """What a network may see before training: the training examples and the unlabelled ones, in one order.

        Batches are as ever; whoever reads them leaves the targets alone.
        """
        return self._dataloader(Batches(torch.cat([self.split.train, self.unlabelled]), self.eval_batch_size))

    def make_examples(self) -> TensorExamples:
        """What `load` gives, looked up a batch at a time."""
        return TensorExamples(*self.loaded)

    def make_split(self) -> Split:
        """Drawn from the seed; the official test set is as it is."""
        owner = type(self).__name__
        train_size, val_size, test_size = self._sizes
        if self._folds is not None:
            fold, repetition = which_fold(self.seed, self._folds, self._fold)
            return draw_fold(
                self._labels(),
                num_folds=self._folds,
                fold=fold,
                repetition=repetition,
                seed=self.seed,
                val_size=val_size,
                owner=owner,
            )
        draw = partial(
            draw_split, self.pool_size, train_size=train_size, val_size=val_size, seed=self.seed, owner=owner
        )
        if test_size is not None or self.num_official_test == 0:
            return draw(test_size=TEST_SIZE if test_size is None else test_size)
        official = torch.arange(self.pool_size, self.pool_size + self.num_official_test)
        return draw(test_size=0)._replace(test=official)

    def _labels(self) -> NDArray[np.int64]:
        """(pool_size,): the class of each example; one for all in regression."""
        if not hasattr(self, "num_classes"):
            return np.zeros(self.pool_size, dtype=np.int64)
        return self.loaded[1][: self.pool_size].numpy()

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("loaded", None)
        return state

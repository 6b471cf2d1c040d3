"""Base class of data sets that are two tensors: inputs and targets."""

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
from datamodules.splits import Size, Split, check_folds, choose_fold, draw_fold, draw_split
from datamodules.streams import Stream, draw_permutation

TEST_SIZE = 0.15
"""Test size if neither a size nor folds are given and there is no official test set."""


class TensorDataModule(InMemoryDataModule):
    """Base class of data sets of two tensors, shipped or your own, split and shuffled from a seed.

    A subclass defines `input_shape`, `pool_size` and `num_classes` or `num_outputs`, which networks use and which must
    be known before the data are read, and overrides `load`. Batches are (inputs, target): (B, *input_shape), float32,
    and (B,), int64 for classes; for regression (B, num_outputs), float32. Their order is that of `InMemoryDataModule`.

    The split depends only on the seed. With `folds`, the test split is one fold of a cross-validation of the pool,
    stratified by class: seeds 0 to folds - 1 are its folds, the next `folds` seeds the folds of another partition. All
    trials of a seed thus share a fold.

    Args:
        batch_size: examples in a training batch, at least 1; "all", or more than there are, makes one batch.
        train_size: a number of examples, or a fraction of the pool if it is a float between 0 and 1; None for all
            examples outside validation and test.
        val_size: a number or a fraction, or 0 for no validation; with folds, of the other folds.
        test_size: a number or a fraction, or 0 for no test; None for the fold, the official test set, or if there is
            none, 15 % of the pool.
        folds: the number of folds of a cross-validation; None for none.
        fold: the test fold, from 0; None takes the seed's.
        seed: of split and order, at least 0; None takes `torch.initial_seed()`, the seed given to `seed_everything`.
        eval_batch_size: examples in a validation or test batch, at least 1.
        unlabelled_size: a number of examples outside all splits, for `pretraining_dataloader`.

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
    """The number of targets of an example in regression."""

    pool_size: int
    """The number of examples from which splits are drawn, the first ones of `load`."""

    num_official_test: int = 0
    """The number of official test examples, which follow the pool, for `test_size=None`."""

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
            _ = self.split, self.unlabelled  # checks sizes in the constructor; folds need the classes

    def load(self) -> tuple[Tensor, Tensor]:
        """Return all examples: inputs (num_examples, *input_shape), float32, and target (num_examples,), int64.

        Called once per object. If a subclass reads from disk, it should cache the tensors for the process, as `Digits`
        and `MNIST` do, so that the trials of a worker share them.
        """
        raise NotImplementedError(f"{type(self).__name__}: write load(self), which returns (inputs, target)")

    def prepare_data(self) -> None:
        """Draw the folds, if any, to check them against the classes; the constructor has checked sizes.

        Raises:
            ValueError: a class has fewer examples than there are folds.
        """
        if self._folds is not None:
            _ = self.split

    @cached_property
    def loaded_tensors(self) -> tuple[Tensor, Tensor]:
        """Return what `load` returned, cached."""
        return self.load()

    @cached_property
    def unlabelled(self) -> Tensor:
        """Return the indices of unlabelled examples for pretraining: (unlabelled_size,), int64.

        They are the first examples outside all splits, in the order from which splits are drawn.
        """
        if self._unlabelled_size == 0:
            return torch.empty(0, dtype=torch.int64)
        order = draw_permutation(self.pool_size, stream=Stream.SPLIT, seed=self.seed)
        left = order[~torch.isin(order, torch.cat(self.split))]
        if len(left) < self._unlabelled_size:
            raise ValueError(
                f"{type(self).__name__}: unlabelled_size is {self._unlabelled_size}, and the splits leave {len(left)} "
                f"of the pool of {self.pool_size} examples"
            )
        return left[: self._unlabelled_size].clone()

    def pretraining_dataloader(self) -> DataLoader[Batch]:
        """Return batches for pretraining, in a fixed order: training examples, then unlabelled ones.

        Batches include targets, which pretraining ignores.
        """
        return self._make_dataloader(Batches(torch.cat([self.split.train, self.unlabelled]), self.eval_batch_size))

    def make_examples(self) -> TensorExamples:
        """Return all examples."""
        return TensorExamples(*self.loaded_tensors)

    def make_split(self) -> Split:
        """Draw the split from the seed, with the official test set if there is one."""
        owner = type(self).__name__
        train_size, val_size, test_size = self._sizes
        if self._folds is not None:
            fold, repetition = choose_fold(self.seed, self._folds, self._fold)
            return draw_fold(
                self._read_labels(),
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

    def _read_labels(self) -> NDArray[np.int64]:
        """Return the class of each example, (pool_size,); 0 for all in regression."""
        if not hasattr(self, "num_classes"):
            return np.zeros(self.pool_size, dtype=np.int64)
        return self.loaded_tensors[1][: self.pool_size].numpy()

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("loaded_tensors", None)
        return state

"""Batches of an epoch."""

from collections.abc import Iterator
from math import ceil

import torch
from torch import Tensor
from torch.utils.data import Sampler

from datamodules.streams import Stream, draw_permutation


class Batches(Sampler[Tensor]):
    """Sampler of batches of indices: (batch_size,), int64; the last batch of an epoch may be smaller.

    Use it with `DataLoader(..., batch_size=None)`, which then looks up a whole batch at once. Lightning calls
    `set_epoch` before each epoch.

    Args:
        indices: the examples of an epoch, (num_examples,), int64.
        batch_size: the number of examples in a batch, at least 1.
        seed: shuffles the examples in each epoch, as a function of only seed and epoch; None keeps their order.
        drop_single: whether to drop a last batch of one example, unless it is the only batch: in training, batch norm
            raises an error on a single example. A different example is dropped in each epoch.

    >>> [batch.tolist() for batch in Batches(torch.arange(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    >>> len(Batches(torch.arange(5), batch_size=2, drop_single=True))
    2
    """

    def __init__(self, indices: Tensor, batch_size: int, *, seed: int | None = None, drop_single: bool = False) -> None:
        self._indices = indices
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0
        single_left = batch_size > 1 and len(indices) % batch_size == 1 and len(indices) > batch_size
        self._num_examples = len(indices) - 1 if drop_single and single_left else len(indices)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 0, whose order the next iteration uses."""
        self._epoch = epoch

    def __len__(self) -> int:
        return ceil(self._num_examples / self._batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        indices = self._indices
        if self._seed is not None:
            indices = indices[draw_permutation(len(indices), stream=Stream.ORDER, seed=self._seed, epoch=self._epoch)]
        if self._num_examples > 0:
            yield from torch.split(indices[: self._num_examples], self._batch_size)

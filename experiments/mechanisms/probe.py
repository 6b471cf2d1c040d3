"""The examples that mechanisms are measured on: the first that training reads, kept as they come.

Nothing is read for them, so neither the order of the data nor any generator is disturbed, whatever the loader. Trials
of a seed read the same examples in the same order, so these are the same for all levels of a seed; and they are kept,
so they are the same in all epochs.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from experiments.training.step_harness import first_size

GAP_EXAMPLES = 1000
"""Examples of training that are compared with validation, at most; see `num_of_gap`."""

GAP_BATCH = 250
"""Of them at once, so that they take no more memory than training."""


class FirstExamples:
    """Keeps batches until they have a number of examples.

    Arguments:
        num_examples: that are wanted.
    """

    def __init__(self, num_examples: int) -> None:
        self._wanted = num_examples
        self._batches: list[Any] = []
        self._num_examples = 0

    @property
    def is_full(self) -> bool:
        """Whether there are enough."""
        return self._num_examples >= self._wanted

    def add(self, batch: Any) -> None:
        """Take in a batch, unless there are enough; tensors are copied, since a step may write into its batch.

        Raises:
            ValueError: when it is not made of tensors in tuples, lists and mappings.
        """
        if not self.is_full:
            self._num_examples += size_of(batch)
            self._batches.append(apply_to_collection(batch, Tensor, torch.clone))

    def batches(self, size: int, most: int) -> list[Any]:
        """The first `most` examples in batches of this size, the last one smaller.

        Where batches cannot be put together, such as texts that are padded to the longest of each, they stay as they
        came, as many as have `most` examples.
        """
        return rebatched(self._batches, size, most)


def num_wanted(examples: int, *, with_gap: bool) -> int:
    """How many examples have to be kept for a probe of that many."""
    return max(examples, GAP_EXAMPLES) if with_gap else examples


def num_of_gap(num_validated: int) -> int:
    """How many examples of training are compared with so many of validation.

    About as many, in whole batches: the difference of two means is as uncertain as the smaller set makes it, so more
    of one would cost more and tell hardly more.

    >>> [num_of_gap(number) for number in (10, 270, 5000)]
    [250, 250, 1000]
    """
    return min(max(num_validated // GAP_BATCH, 1) * GAP_BATCH, GAP_EXAMPLES)


def rebatched(batches: Sequence[Any], size: int, most: int) -> list[Any]:
    """As `FirstExamples.batches`.

    >>> rebatched([torch.arange(3), torch.arange(3, 6)], size=2, most=5)
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """
    sizes = [size_of(batch) for batch in batches]
    needed = next((number for number in range(1, len(sizes)) if sum(sizes[:number]) >= most), len(sizes))
    whole = _joined(batches[:needed], sizes[:needed])
    if whole is None:
        return list(batches[:needed])
    stop = min(most, sum(sizes[:needed]))
    return [
        apply_to_collection(whole, Tensor, itemgetter(slice(start, min(start + size, stop))))
        for start in range(0, stop, size)
    ]


def size_of(batch: Any) -> int:
    """The number of examples of a batch.

    Raises:
        ValueError: when it cannot be told.
    """
    try:
        return first_size(batch)
    except (TypeError, IndexError, KeyError, StopIteration, RecursionError):  # the last of texts
        raise ValueError(f"its batches are of type {type(batch).__name__}; tensors are expected") from None


def _joined(batches: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Batches of one form one after the other; None where something in them is no tensor with an axis of examples."""
    first = batches[0]
    if isinstance(first, Tensor):
        if any(x.dim() == 0 or x.shape[1:] != first.shape[1:] for x in batches):
            return None
        is_of_examples = all(len(x) == size for x, size in zip(batches, sizes, strict=True))
        return torch.cat(list(batches)) if is_of_examples else None
    if isinstance(first, Mapping):
        parts = {key: _joined([batch[key] for batch in batches], sizes) for key in first}
        return None if any(part is None for part in parts.values()) else parts
    if isinstance(first, tuple | list):
        items = [_joined(each, sizes) for each in zip(*batches, strict=True)]
        return None if any(item is None for item in items) else _like(first, items)
    return None


def _like(batch: Any, items: list[Any]) -> Any:
    return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)

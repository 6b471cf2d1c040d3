"""Examples that mechanisms are measured on: the first ones of training.

They are kept when training reads them, so that no loader is read and no generator moves for them. Trials of a seed read
the same examples in the same order, so the probe is the same for all levels of a seed, and in all epochs.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from experiments.training.step_harness import first_size

GAP_EXAMPLES = 1000
"""Largest number of training examples that are compared with validation; see `choose_gap_size`."""

GAP_BATCH = 250
"""Examples at once, so that they take no more memory than training."""


class FirstExamples:
    """Batches that are kept until they have a number of examples.

    Args:
        num_examples: that are wanted.
    """

    def __init__(self, num_examples: int) -> None:
        self._wanted = num_examples
        self._batches: list[Any] = []
        self._num_examples = 0

    @property
    def is_full(self) -> bool:
        """Return whether there are enough examples."""
        return self._num_examples >= self._wanted

    def add(self, batch: Any) -> None:
        """Keep a batch, if more examples are wanted. Its tensors are copied, since a step may write into its batch.

        Raises:
            ValueError: the batch is not made of tensors in tuples, lists and mappings.
        """
        if not self.is_full:
            self._num_examples += count_examples(batch)
            self._batches.append(apply_to_collection(batch, Tensor, torch.clone))

    def rebatch(self, size: int, max_examples: int) -> list[Any]:
        """Return the examples in batches of another size; see the function `rebatch`."""
        return rebatch(self._batches, size, max_examples)


def count_examples_wanted(examples: int, *, with_gap: bool) -> int:
    """Return how many examples have to be kept for a probe of this size."""
    return max(examples, GAP_EXAMPLES) if with_gap else examples


def choose_gap_size(num_validated: int) -> int:
    """Return how many training examples are compared with a number of validation examples.

    It is about the same number, in whole batches: the smaller set determines the uncertainty of the difference of two
    means, so more examples of one set would not help.

    >>> [choose_gap_size(number) for number in (10, 270, 5000)]
    [250, 250, 1000]
    """
    return min(max(num_validated // GAP_BATCH, 1) * GAP_BATCH, GAP_EXAMPLES)


def rebatch(batches: Sequence[Any], size: int, max_examples: int) -> list[Any]:
    """Return the first examples in batches of another size, the last one smaller.

    Batches that cannot be concatenated, such as texts padded to the longest of each batch, are returned unchanged, as
    many as have the examples.

    >>> rebatch([torch.arange(3), torch.arange(3, 6)], size=2, max_examples=5)
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """
    sizes = [count_examples(batch) for batch in batches]
    needed = next((number for number in range(1, len(sizes)) if sum(sizes[:number]) >= max_examples), len(sizes))
    whole = _concatenate(batches[:needed], sizes[:needed])
    if whole is None:
        return list(batches[:needed])
    stop = min(max_examples, sum(sizes[:needed]))
    return [
        apply_to_collection(whole, Tensor, itemgetter(slice(start, min(start + size, stop))))
        for start in range(0, stop, size)
    ]


def count_examples(batch: Any) -> int:
    """Return the number of examples of a batch.

    Raises:
        ValueError: the batch is not made of tensors.
    """
    try:
        return first_size(batch)
    except (TypeError, IndexError, KeyError, StopIteration, RecursionError):  # the last one for texts
        raise ValueError(f"its batches are of type {type(batch).__name__}; tensors are expected") from None


def _concatenate(batches: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Concatenate batches of one form; None if something in them is not a tensor with an axis of examples."""
    first = batches[0]
    if isinstance(first, Tensor):
        if any(x.dim() == 0 or x.shape[1:] != first.shape[1:] for x in batches):
            return None
        is_of_examples = all(len(x) == size for x, size in zip(batches, sizes, strict=True))
        return torch.cat(list(batches)) if is_of_examples else None
    if isinstance(first, Mapping):
        parts = {key: _concatenate([batch[key] for batch in batches], sizes) for key in first}
        return None if any(part is None for part in parts.values()) else parts
    if isinstance(first, tuple | list):
        items = [_concatenate(each, sizes) for each in zip(*batches, strict=True)]
        return None if any(item is None for item in items) else _rebuild(first, items)
    return None


def _rebuild(batch: Any, items: list[Any]) -> Any:
    return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)

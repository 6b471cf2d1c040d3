"""Batches as loaders return them: tensors in tuples, lists and mappings."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from experiments.fusing.reasons import NotFusable


def map_tensors(function: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """Apply a function to every tensor of a batch.

    Raises:
        NotFusable: the batch holds something other than tensors.
    """
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(function, value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return _rebuild(batch, [map_tensors(function, value) for value in batch])
    raise NotFusable(f"its batches hold a {type(batch).__name__}, which cannot be stacked")


def select_row(batch: Any, row: int) -> Any:
    """Return the batch of one row. batch: tensors (R, B, ...)."""
    return map_tensors(itemgetter(row), batch)


def stack_batches(batches: Sequence[Any]) -> Any:
    """Stack batches of one form along a new first axis of each tensor.

    Raises:
        NotFusable: a batch holds something other than tensors.
    """
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.stack(list(batches))
    if isinstance(first, Mapping):
        return {key: stack_batches([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple | list):
        return _rebuild(first, [stack_batches(items) for items in zip(*batches, strict=True)])
    raise NotFusable(f"its batches hold a {type(first).__name__}, which cannot be stacked")


def _rebuild(batch: Any, items: list[Any]) -> Any:
    """Return items as a list, tuple or named tuple of the batch's class."""
    return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)

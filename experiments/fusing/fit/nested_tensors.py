"""Batches as loaders give them: tensors in tuples, lists and mappings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.fusing.reasons import NotFusable


def mapped(function: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """A batch with the function applied to every tensor in it."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: mapped(function, value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return _like(batch, [mapped(function, value) for value in batch])
    raise NotFusable(f"its batches hold a {type(batch).__name__}, which cannot be stacked")


def stacked(batches: Sequence[Any]) -> Any:
    """Batches of one form as one, each tensor with a new first axis."""
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.stack(list(batches))
    if isinstance(first, Mapping):
        return {key: stacked([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple | list):
        return _like(first, [stacked(items) for items in zip(*batches, strict=True)])
    raise NotFusable(f"its batches hold a {type(first).__name__}, which cannot be stacked")


def _like(batch: Any, items: list[Any]) -> Any:
    """A list, a tuple or a named tuple of the same class."""
    return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)

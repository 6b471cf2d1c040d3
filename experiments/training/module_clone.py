"""Copies of a module to run steps on.

A step may keep what it saw, count, write figures and change buffers; on a copy, none of it reaches training.
`functional_call` would replace parameters and buffers alone.
"""

import copy
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

_SHARED = (Dataset, DataLoader, LightningDataModule)
_MAX_DEPTH = 4


def clone_module(module: LightningModule, trainer: Any) -> LightningModule:
    """Deep-copy a module so that steps on the copy have no side effects; data that it holds are shared.

    Args:
        module: may be in training.
        trainer: of the clone, in place of the module's own.
    """
    own = vars(module)["_trainer"]
    memo: dict[int, Any] = {} if own is None else {id(own): trainer}
    for value in vars(module).values():
        _prepare(value, memo, _MAX_DEPTH)
    clone: LightningModule = copy.deepcopy(module, memo)
    clone.trainer = trainer
    return clone


def _prepare(value: Any, memo: dict[int, Any], depth: int) -> None:
    """Enter into the memo of `deepcopy` what it should not copy, and tensors with a graph, which it cannot."""
    if isinstance(value, _SHARED):
        memo[id(value)] = value
    elif isinstance(value, Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    elif depth and isinstance(value, Mapping):
        for item in value.values():
            _prepare(item, memo, depth - 1)
    elif depth and isinstance(value, list | tuple | set):
        for item in value:
            _prepare(item, memo, depth - 1)

"""A copy of a module to run steps on, of which neither the module nor anything around it hears.

A step may keep what it saw, count, log, write figures, draw random numbers and change buffers; on a copy, none of it
reaches training. `functional_call` would replace parameters and buffers alone.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchmetrics import Metric

from experiments.training.seeding import kept_generators, seed_global_generators

_NOT_COPIED = (Dataset, DataLoader, LightningDataModule)
_DEEPEST = 4


def twin_of(module: LightningModule, trainer: Any) -> LightningModule:
    """A copy with tensors and attributes of its own; data that it holds are not copied.

    Arguments:
        module: in training.
        trainer: of which the copy sees everything but the loggers.
    """
    quiet = _Quiet(trainer)
    memo: dict[int, Any] = {id(trainer): quiet}
    for value in vars(module).values():
        _remember(value, memo, _DEEPEST)
    twin: LightningModule = copy.deepcopy(module, memo)
    twin.trainer = quiet  # type: ignore[assignment]
    for part in twin.modules():
        if "inplace" in vars(part):
            vars(part)["inplace"] = False  # what a layer put out would be what the next one made of it
    return twin


class _Quiet:
    """Stands in for a Trainer: what is read is the Trainer's, what is set stays here, and loggers hear nothing."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.logger = DummyLogger()
        self.loggers: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._trainer, name)


class Heard:
    """What a copy sends to `self.log`, which goes nowhere else, as means over steps.

    Arguments:
        twin: of `twin_of`.
    """

    def __init__(self, twin: LightningModule) -> None:
        self.num_examples = 1
        """The weight of the step that runs, where the module gives none."""
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._metrics: dict[str, Metric] = {}
        vars(twin)["log"] = self._log

    def means(self) -> dict[str, float]:
        """Of everything that is a number."""
        means = {name: float(total) / weight for name, (total, weight) in self._sums.items()}
        computed = {name: metric.compute() for name, metric in self._metrics.items()}
        return means | {name: float(value) for name, value in computed.items() if value.numel() == 1}

    def _log(self, name: str, value: Any, *_: Any, batch_size: int | None = None, **others: Any) -> None:
        if isinstance(value, Metric):
            self._metrics[name] = value
            return
        is_mean = others.get("reduce_fx", "mean") in {"mean", torch.mean}
        if not is_mean or not isinstance(value, Tensor | int | float):
            return
        number = torch.as_tensor(value).detach()
        if number.numel() != 1:
            return
        weight = batch_size or self.num_examples
        total, weights = self._sums.get(name, (0.0, 0))
        self._sums[name] = (total + number.double().cpu() * weight, weights + weight)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Within, random numbers are the same at each call; afterwards all generators are as they were."""
    with kept_generators():
        seed_global_generators(0)
        yield


def _remember(value: Any, memo: dict[int, Any], depth: int) -> None:
    """Enter into the memo of `deepcopy` what it should not copy, and tensors with a graph, which it cannot."""
    if isinstance(value, _NOT_COPIED):
        memo[id(value)] = value
    elif isinstance(value, Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    elif depth and isinstance(value, Mapping):
        for item in value.values():
            _remember(item, memo, depth - 1)
    elif depth and isinstance(value, list | tuple | set):
        for item in value:
            _remember(item, memo, depth - 1)

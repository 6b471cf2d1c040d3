"""One step of a module without a Trainer: what it returns, and what it sends to `self.log`."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from experiments.fusing.reasons import NotFusable
from experiments.training.steps import first_size


@dataclass(frozen=True, slots=True)
class Asked:
    """How a value is to be logged: the weight of a step in the epoch's mean, and whether steps, the mean or both."""

    batch_size: int
    on_step: bool
    on_epoch: bool


class CapturedLog:
    """Stands in for a module's `log` in a `with` block.

    values: name -> a scalar; asked: name -> how to log it.

    Arguments:
        module: whose step runs.
        batch: of the step, whose first axis is the weight where the module gives none.
        is_training: whether it is training_step, whose defaults are others.
    """

    def __init__(self, module: LightningModule, batch: Any, *, is_training: bool) -> None:
        self.values: dict[str, Tensor] = {}
        self.asked: dict[str, Asked] = {}
        self._module, self._batch, self._is_training = module, batch, is_training

    def __enter__(self) -> Self:
        self._module.__dict__["log"] = self._log
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del self._module.__dict__["log"]

    def _log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[[Any], Any] = "mean",
        *_: Any,
        batch_size: int | None = None,
        **__: Any,
    ) -> None:
        on_step = on_step if on_step is not None else self._is_training
        on_epoch = on_epoch if on_epoch is not None else not self._is_training
        if on_step and not self._is_training:
            raise NotFusable(f"self.log({name!r}, on_step=True) logs the single steps of validation or test")
        if not on_step and not on_epoch:
            raise NotFusable(f"self.log({name!r}) asks for neither steps nor epochs")
        if logger is False:
            raise NotFusable(f"self.log({name!r}, logger=False) is for callbacks alone")
        if reduce_fx not in {"mean", torch.mean}:
            raise NotFusable(f"self.log({name!r}, reduce_fx={reduce_fx!r}) is not a mean")
        if not isinstance(value, Tensor | int | float):
            raise NotFusable(f"self.log({name!r}) logs a {type(value).__name__}, which keeps a state of its own")
        if name in self.values:
            raise NotFusable(f"a step logs {name!r} twice")
        tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))
        if tensor.numel() != 1:
            raise NotFusable(f"self.log({name!r}) logs {tensor.numel()} numbers")
        self.values[name] = (tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())).squeeze()
        self.asked[name] = Asked(batch_size or first_size(self._batch), on_step, on_epoch)


def loss_of(output: Any) -> Tensor:
    """The loss in what a training step returned.

    Raises:
        NotFusable: when there is none.
    """
    loss = output.get("loss") if isinstance(output, dict) else output
    if not isinstance(loss, Tensor):
        raise NotFusable("training_step returned no loss")
    return loss


def copied(model: LightningModule) -> LightningModule:
    """A copy with tensors of its own and the same trainer, which Lightning leaves out of copies."""
    twin = copy.deepcopy(model)
    twin.trainer = model.trainer
    return twin


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """New tensors are of this type meanwhile, as under the Trainer's precision of 64-true."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

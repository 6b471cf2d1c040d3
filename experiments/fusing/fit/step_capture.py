"""One step of a module that is fused, or of its unfused model: its loss, and the values that it logs."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from experiments.fusing.reasons import NotFusable
from experiments.training.step_harness import LogCall, call_step, find_loss, first_size, replace_log


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Options of a logged value: the weight of a step in the epoch's mean, and whether steps or the mean are logged."""

    batch_size: int
    on_step: bool
    on_epoch: bool


class CapturedLog:
    """Values that a module logs in a `with` block.

    values: name -> a scalar; options: name -> how it is logged.

    Args:
        module: its step runs.
        batch: of the step; its first axis is the weight if the module gives none.
        is_training: whether it is training_step, which has other defaults.
    """

    def __init__(self, module: LightningModule, batch: Any, *, is_training: bool) -> None:
        self.values: dict[str, Tensor] = {}
        self.options: dict[str, LogOptions] = {}
        self._module, self._batch, self._is_training = module, batch, is_training

    def __enter__(self) -> Self:
        self._restore = replace_log(self._module, self._take)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def _take(self, call: LogCall) -> bool:
        name, value = call.name, call.value
        on_step, on_epoch = (decide(is_training=self._is_training) for decide in (call.logs_steps, call.logs_epoch))
        if on_step and not self._is_training:
            raise NotFusable(f"self.log({name!r}, on_step=True) logs the single steps of validation or test")
        if not on_step and not on_epoch:
            raise NotFusable(f"self.log({name!r}) logs neither steps nor epochs")
        if call.logger is False:
            raise NotFusable(f"self.log({name!r}, logger=False) logs for callbacks only")
        if not call.is_mean:
            raise NotFusable(f"self.log({name!r}, reduce_fx={call.reduce_fx!r}) is not a mean")
        if not isinstance(value, Tensor | int | float):
            raise NotFusable(f"self.log({name!r}) logs a {type(value).__name__}, which keeps a state between steps")
        if name in self.values:
            raise NotFusable(f"a step logs {name!r} twice")
        tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))
        if tensor.numel() != 1:
            raise NotFusable(f"self.log({name!r}) logs {tensor.numel()} numbers")
        self.values[name] = (tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())).squeeze()
        self.options[name] = LogOptions(call.batch_size or first_size(self._batch), on_step, on_epoch)
        return True


def require_loss(output: Any) -> Tensor:
    """Return the loss in what a training step returned.

    Raises:
        NotFusable: there is none.
    """
    loss = find_loss(output)
    if loss is None:
        raise NotFusable("training_step returned no loss")
    return loss


def run_unfused_step(model: LightningModule, batch: Any, batch_idx: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """Run one training step and its backward pass. Return the loss and the logged values."""
    with CapturedLog(model, batch, is_training=True) as log:
        loss = require_loss(call_step(model, "training_step", batch, batch_idx))
    torch.autograd.backward(loss)
    return loss.detach(), log.values

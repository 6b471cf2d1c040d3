"""A module's own steps over the stacked parameters of many trials.

T trials, B batch. A module's `training_step` is called once, under `torch.func.vmap`, on a template whose parameters
and buffers are replaced by slices of stacked ones: there is no second definition of the model. What the step sends to
`self.log` is returned along with the loss, one value a trial.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap


class NotFusable(Exception):  # noqa: N818 -- a finding about a module, not a fault
    """Why a trial has to be trained alone, as a sentence that goes on from "stays alone: "."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One value that a step logged: value (T,), to be averaged over the epoch with weight `batch_size`."""

    value: Tensor
    batch_size: int


class StackedModels:
    """The parameters and buffers of T trials of one structure, stacked along a first axis.

    parameters: name -> (T, *shape), leaves of autograd, float.
    buffers: name -> (T, *shape), changed in place by training steps, as batch norm does.
    template: the module whose steps run; the first of the models, whose own tensors are no longer used.
    """

    def __init__(self, models: list[LightningModule]) -> None:
        parameters, buffers = stack_module_state(list[nn.Module](models))
        self.parameters = {
            name: nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad)
            for name, value in parameters.items()
        }
        self.buffers = {name: value.detach().clone() for name, value in buffers.items()}
        self.template = models[0]
        self.template.trainer = _NoTrainer()  # type: ignore[assignment]
        self._step = _Step(self.template)

    def train_step(self, batch: Any, batch_idx: int) -> tuple[Tensor, dict[str, Logged]]:
        """Loss (T,) and what was logged. batch: any nesting of tensors with a first axis of T."""
        self.template.train()
        return self._run("training_step", batch, batch_idx)

    def eval_step(self, name: str, batch: Any, batch_idx: int) -> dict[str, Logged]:
        """What validation_step or test_step logged. batch as in `train_step`."""
        self.template.eval()
        with torch.no_grad():
            return self._run(name, batch, batch_idx)[1]

    def _run(self, name: str, batch: Any, batch_idx: int) -> tuple[Tensor, dict[str, Logged]]:
        weights: dict[str, int] = {}

        def one(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Any) -> Any:
            values: dict[str, Tensor] = {}
            with _captured_log(self.template, values, weights, batch, is_training=name == "training_step"):
                state = {f"module.{key}": value for key, value in [*parameters.items(), *buffers.items()]}
                output = functional_call(self._step, state, (name, batch, batch_idx))
            loss = output.get("loss") if isinstance(output, dict) else output
            if loss is None and name == "training_step":
                raise NotFusable("training_step returned no loss")
            return (loss if loss is not None else torch.zeros(()), values)

        returned, values = vmap(one, randomness="different")(self.parameters, self.buffers, batch)
        return returned, {key: Logged(value=value, batch_size=weights[key]) for key, value in values.items()}


class _Step(nn.Module):
    """A module whose forward is one of the steps of a LightningModule, for `functional_call`."""

    def __init__(self, module: LightningModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, name: str, batch: Any, batch_idx: int) -> Any:
        return getattr(self.module, name)(batch, batch_idx)


class _NoTrainer:
    """Stands where the Trainer would be: a step that asks it anything depends on more than its batch."""

    def __getattr__(self, name: str) -> Any:
        raise NotFusable(f"a step reads self.trainer.{name}")


class _captured_log:  # noqa: N801 -- a context manager
    """Replaces a module's `log` while a step runs."""

    def __init__(
        self,
        module: LightningModule,
        values: dict[str, Tensor],
        weights: dict[str, int],
        batch: Any,
        *,
        is_training: bool,
    ) -> None:
        self._module, self._values, self._weights, self._batch = module, values, weights, batch
        self._is_training = is_training

    def __enter__(self) -> None:
        self._module.__dict__["log"] = self._log

    def __exit__(self, *error: object) -> None:
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
        wants_step = on_step if on_step is not None else self._is_training
        wants_epoch = on_epoch if on_epoch is not None else not self._is_training
        if wants_step or not wants_epoch:
            raise NotFusable(f"self.log({name!r}, on_step=True) logs single steps; on_step=False, on_epoch=True fuses")
        if reduce_fx not in {"mean", torch.mean}:
            raise NotFusable(f"self.log({name!r}, reduce_fx={reduce_fx!r}) is not a mean")
        if not isinstance(value, Tensor | int | float):
            raise NotFusable(f"self.log({name!r}) logs a {type(value).__name__}, which keeps a state of its own")
        tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))
        self._values[name] = (tensor if tensor.is_floating_point() else tensor.float()).squeeze()
        self._weights[name] = batch_size or _first_size(self._batch)


def _first_size(batch: Any) -> int:
    """The number of examples in a batch: the first axis of its first tensor."""
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.dim() else 1
    if isinstance(batch, Mapping):
        return _first_size(next(iter(batch.values())))
    return _first_size(batch[0])

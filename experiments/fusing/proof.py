"""A group is proven before it is trusted: its first step against the step that a trial of each cell makes alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from .findings import NotFusable
from .nested import mapped
from .rows import Rows
from .step import Logged, StackedModels

TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-9}
"""The largest difference that is taken for rounding, relative to the largest element of each tensor."""

SMALL = 0.01
"""How far below the largest of all gradients one is taken for a sum of larger terms: a bias before batch norm has a
gradient of exactly zero, of which rounding alone is left."""


def prove(
    stacked: StackedModels,
    alone: Mapping[int, LightningModule],
    rows: Rows,
    batch: Any,
    dtype: torch.dtype,
) -> None:
    """Compare losses, gradients, buffers and metrics of one step, dropout off; the stacked state is as before then.

    Arguments:
        stacked: T trials together.
        alone: place among the trials -> a module in the very state of that trial; used up.
        rows: how the trials stand.
        batch: the first batch, tensors (R, B, ...).
        dtype: of the parameters, which sets what counts as rounding.

    Raises:
        NotFusable: with the trial and what differs.
    """
    before = {name: value.clone() for name, value in stacked.buffers.items()}
    with _DropoutOff([*alone.values(), stacked.template]):
        loss_of_trials, logged = stacked.train_step(batch, 0)
        torch.autograd.backward(loss_of_trials.sum())
        for place, model in alone.items():
            loss, metrics = step_alone(model, mapped(partial(torch.select, dim=0, index=rows.row(place)), batch))
            pairs = [("the loss", loss, loss_of_trials[place].detach())]
            pairs += _gradients(stacked, model, place)
            pairs += [(f"the buffer {name}", own, stacked.buffers[name][place]) for name, own in model.named_buffers()]
            pairs += _metrics(metrics, logged, place)
            least = SMALL * max((_largest(p.grad) for p in model.parameters() if p.grad is not None), default=0.0)
            for what, own, together in pairs:
                _compare(f"{rows.trials[place]}: {what}", own, together, TOLERANCE[dtype], least)
    for name, value in before.items():
        stacked.buffers[name].copy_(value)
    for parameter in stacked.parameters.values():
        parameter.grad = None


def step_alone(model: LightningModule, batch: Any) -> tuple[Tensor, dict[str, float]]:
    """The loss and what was logged of one training step, backward included; the module's `log` is used up."""
    metrics: dict[str, float] = {}

    def log(name: str, value: Any, *_: Any, **__: Any) -> None:
        metrics[name] = float(value.detach() if isinstance(value, Tensor) else value)

    model.__dict__["log"] = log
    model.train()
    output: Any = model.training_step(batch, 0)
    loss: Tensor = output["loss"] if isinstance(output, Mapping) else output
    torch.autograd.backward(loss)
    return loss.detach(), metrics


def _gradients(stacked: StackedModels, model: LightningModule, place: int) -> list[tuple[str, Tensor, Tensor]]:
    pairs = []
    for name, parameter in model.named_parameters():
        together = stacked.parameters[name].grad
        nothing = torch.zeros_like(parameter)
        own = nothing if parameter.grad is None else parameter.grad
        pairs.append((f"the gradient of {name}", own, nothing if together is None else together[place]))
    return pairs


def _metrics(own: Mapping[str, float], logged: Mapping[str, Logged], place: int) -> list[tuple[str, Tensor, Tensor]]:
    if own.keys() != logged.keys():
        raise NotFusable(f"alone its step logs {sorted(own)}, together {sorted(logged)}")
    return [
        (f"the metric {name}", torch.tensor(value, dtype=torch.float64), logged[name].value[place])
        for name, value in own.items()
    ]


def _largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().nan_to_num(0, 0, 0).max()) if tensor.numel() else 0.0


def _compare(what: str, own: Tensor, together: Tensor, tolerance: float, least: float) -> None:
    if own.numel() == 0:
        return
    own, together = own.detach().double(), together.detach().double()
    largest = max(_largest(own), least, 1e-6)
    is_same = (own == together) | (own.isnan() & together.isnan()) | ((own - together).abs() <= tolerance * largest)
    if not bool(is_same.all()):
        difference = float((own - together).abs().max())
        raise NotFusable(f"{what} differs by {difference:.1e} from that of its own step")


class _DropoutOff:
    """Dropout layers of these modules do nothing meanwhile, whatever `train()` says."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        dropout = nn.modules.dropout._DropoutNd  # noqa: SLF001 -- the one base of all dropout layers
        self._layers = [layer for model in models for layer in model.modules() if isinstance(layer, dropout)]

    def __enter__(self) -> None:
        for layer in self._layers:
            layer.__dict__["train"] = lambda mode=True: None  # noqa: ARG005 -- called by the parent's train()
            layer.training = False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for layer in self._layers:
            del layer.__dict__["train"]
            layer.training = True

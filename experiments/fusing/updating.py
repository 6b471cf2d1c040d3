"""Each trial's own optimizer, on slices of the stacked parameters.

What `configure_optimizers` of a trial returns is taken as it is: its class, its parameter groups with their learning
rates and weight decays, its schedulers. Only the parameters are exchanged: for slices (views) of the stacked ones, with
the matching slices of the stacked gradients. Torch's optimizers work element by element, so a slice of many trials is
updated as each would be alone. Trials whose optimizers are set alike share one slice and one step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .step import NotFusable

ELEMENTWISE = (
    *(torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad),
    *(torch.optim.Adadelta, torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Rprop),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What configure_optimizers of one trial returned. scheduler: None, or one that is a function of its step."""

    optimizer: Optimizer
    scheduler: LRScheduler | None
    interval: str = "epoch"


def settings_of(model: LightningModule) -> Settings:
    """The optimizer and scheduler of a module, in any of the forms that Lightning takes for one of each.

    Raises:
        NotFusable: for several optimizers, one that is not elementwise, or a scheduler that watches a metric.
    """
    returned: Any = model.configure_optimizers()
    schedulers: Any = []
    if isinstance(returned, dict):
        returned, schedulers = returned["optimizer"], [returned[key] for key in ("lr_scheduler",) if key in returned]
    elif isinstance(returned, tuple | list) and len(returned) == 2 and isinstance(returned[0], list | tuple):  # noqa: PLR2004
        returned, schedulers = returned
    optimizers = list(returned) if isinstance(returned, list | tuple) else [returned]
    if len(optimizers) != 1 or len(schedulers) > 1:
        raise NotFusable(f"configure_optimizers returns {len(optimizers)} optimizers and {len(schedulers)} schedulers")
    (optimizer,) = optimizers
    if type(optimizer) not in ELEMENTWISE:
        raise NotFusable(f"{type(optimizer).__name__} is not known to update each element by itself")
    if not schedulers:
        return Settings(optimizer=optimizer, scheduler=None)
    entry = schedulers[0] if isinstance(schedulers[0], dict) else {"scheduler": schedulers[0]}
    scheduler = entry["scheduler"]
    if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise NotFusable(f"{type(scheduler).__name__} is not a function of the step alone")
    if entry.get("frequency", 1) != 1:
        raise NotFusable(
            f"its scheduler has the frequency {entry['frequency']!r}, which only the Lightning Trainer does"
        )
    return Settings(optimizer=optimizer, scheduler=scheduler, interval=entry.get("interval", "epoch"))


class Updates:
    """The optimizers of T trials over their stacked parameters.

    Arguments:
        models: the T modules, whose configure_optimizers are called.
        stacked: name -> (T, *shape), the leaves that backward fills.

    Trials that are set alike stand next to each other in `models`, so that their slices are one.
    """

    def __init__(self, models: Sequence[LightningModule], stacked: dict[str, nn.Parameter]) -> None:
        self._stacked = stacked
        self._parts: list[tuple[slice, Settings, dict[str, nn.Parameter]]] = []
        alone = [settings_of(model) for model in models]
        first = 0
        while first < len(models):
            last = first + 1
            while last < len(models) and alike(alone[first], alone[last]):
                last += 1
            self._parts.append(self._part(models[first], alone[first], slice(first, last)))
            first = last

    def step(self) -> None:
        """Update every trial from the gradients that backward left, and forget them."""
        for part, settings, slices in self._parts:
            for name, view in slices.items():
                gradient = self._stacked[name].grad
                view.grad = None if gradient is None else gradient[part]
            settings.optimizer.step()
            if settings.scheduler is not None and settings.interval == "step":
                settings.scheduler.step()
        for parameter in self._stacked.values():
            parameter.grad = None

    def end_epoch(self) -> None:
        """Let schedulers that count epochs count one."""
        for _, settings, _ in self._parts:
            if settings.scheduler is not None and settings.interval == "epoch":
                settings.scheduler.step()

    def _part(
        self, model: LightningModule, settings: Settings, part: slice
    ) -> tuple[slice, Settings, dict[str, nn.Parameter]]:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        slices = {
            name: nn.Parameter(value.detach()[part], value.requires_grad) for name, value in self._stacked.items()
        }
        for group in settings.optimizer.param_groups:
            group["params"] = [slices[names[id(parameter)]] for parameter in group["params"]]
            on_cpu = all(p.device.type == "cpu" for p in group["params"])
            is_free = group.get("fused", False) is None and group.get("foreach") is None
            if on_cpu and is_free and not group.get("differentiable"):
                group["fused"] = True
        return part, settings, slices


def alike(one: Settings, other: Settings) -> bool:
    """Whether two trials' optimizers and schedulers would do the same to the same gradients."""
    if one.scheduler is not None or other.scheduler is not None:
        return False  # schedulers may hold functions, whose sameness cannot be seen
    if type(one.optimizer) is not type(other.optimizer):
        return False
    return [_numbers(group) for group in one.optimizer.param_groups] == [
        _numbers(group) for group in other.optimizer.param_groups
    ]


def _numbers(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"} | {"num_params": len(group["params"])}


def clip(gradients: Sequence[Tensor], value: float, algorithm: str) -> None:
    """Clip the gradients of each trial by itself, in place, as Lightning does for one. gradients: (T, *shape) each.

    norm: the trial's total norm is scaled to at most `value` (Pascanu et al. 2013; torch.nn.utils.clip_grad_norm_).
    value: each element is brought into [-value, value].
    """
    if algorithm == "value":
        for gradient in gradients:
            gradient.clamp_(-value, value)
        return
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    scales = (value / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scales.view(-1, *[1] * (gradient.dim() - 1)))

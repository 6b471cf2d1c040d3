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
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from experiments.fusing.reasons import NotFusable

ELEMENTWISE = (
    *(torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad),
    *(torch.optim.Adadelta, torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Rprop),
)

_OF_NUMBERS = {
    *(lr_scheduler.StepLR, lr_scheduler.MultiStepLR, lr_scheduler.ConstantLR, lr_scheduler.LinearLR),
    *(lr_scheduler.ExponentialLR, lr_scheduler.PolynomialLR, lr_scheduler.CosineAnnealingLR),
    lr_scheduler.CosineAnnealingWarmRestarts,
}


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
    optimizer, entry = _one_of_each(model.configure_optimizers())
    if optimizer is None:
        raise NotFusable("configure_optimizers returns no optimizer")
    if type(optimizer) not in ELEMENTWISE:
        raise NotFusable(f"{type(optimizer).__name__} is not known to update each element by itself")
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:  # noqa: SLF001 -- no public name
        raise NotFusable(f"its {type(optimizer).__name__} has hooks")
    if not entry:
        return Settings(optimizer=optimizer, scheduler=None)
    scheduler = entry.get("scheduler")
    if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise NotFusable(f"{type(scheduler).__name__} is not a function of the step alone")
    for key, accepted in (("frequency", {1}), ("interval", {"step", "epoch"})):
        if key in entry and entry[key] not in accepted:
            raise NotFusable(f"its scheduler has the {key} {entry[key]!r}, which only the Lightning Trainer does")
    return Settings(optimizer=optimizer, scheduler=scheduler, interval=entry.get("interval", "epoch"))


def _one_of_each(returned: Any) -> tuple[Any, dict[str, Any]]:
    """An optimizer, and what is said of its scheduler, from any of the forms that configure_optimizers may return."""
    if isinstance(returned, list | tuple) and len(returned) == 1:
        (returned,) = returned
    schedulers: Any = []
    if isinstance(returned, dict):
        returned, schedulers = returned["optimizer"], [returned[key] for key in ("lr_scheduler",) if key in returned]
    elif isinstance(returned, tuple | list) and len(returned) == 2 and isinstance(returned[0], list | tuple):  # noqa: PLR2004
        returned, schedulers = returned
    optimizers = list(returned) if isinstance(returned, list | tuple) else [returned]
    if len(optimizers) != 1 or len(schedulers) > 1:
        raise NotFusable(f"configure_optimizers returns {len(optimizers)} optimizers and {len(schedulers)} schedulers")
    if not schedulers:
        return optimizers[0], {}
    return optimizers[0], schedulers[0] if isinstance(schedulers[0], dict) else {"scheduler": schedulers[0]}


class Updates:
    """The optimizers of T trials over their stacked parameters: one for all trials that are set alike.

    Arguments:
        models: (T,), whose parameters the optimizers hold until now.
        settings: (T,), of `settings_of` each model.
        stacked: name -> (T, *shape), the leaves that backward fills.
    """

    def __init__(
        self, models: Sequence[LightningModule], settings: Sequence[Settings], stacked: dict[str, nn.Parameter]
    ) -> None:
        self._stacked = stacked
        self._settings: list[Settings] = []
        self._slices: list[list[tuple[str, slice, nn.Parameter]]] = []
        names = [_names_of_groups(model, own) for model, own in zip(models, settings, strict=True)]
        last: list[int] = []  # for each optimizer, the last trial that it has
        taken: list[list[slice]] = []
        for place, own in enumerate(settings):
            kind = next(
                (k for k, at in enumerate(last) if names[at] == names[place] and alike(settings[at], own)), None
            )
            if kind is None:
                last.append(place)
                taken.append([slice(place, place + 1)])
                continue
            if last[kind] == place - 1:
                taken[kind][-1] = slice(taken[kind][-1].start, place + 1)
            else:
                taken[kind].append(slice(place, place + 1))
            last[kind] = place
        for kind, parts in enumerate(taken):
            self._take(settings[last[kind]], names[last[kind]], parts)

    def step(self) -> None:
        """Update every trial from the gradients that backward left, and forget them."""
        for settings, slices in zip(self._settings, self._slices, strict=True):
            for name, part, view in slices:
                gradient = self._stacked[name].grad
                view.grad = None if gradient is None else gradient[part]
            settings.optimizer.step()
            if settings.scheduler is not None and settings.interval == "step":
                settings.scheduler.step()
        for parameter in self._stacked.values():
            parameter.grad = None

    def end_epoch(self) -> None:
        """Let schedulers that count epochs count one."""
        for settings in self._settings:
            if settings.scheduler is not None and settings.interval == "epoch":
                settings.scheduler.step()

    def _take(self, settings: Settings, names: Sequence[Sequence[str]], parts: Sequence[slice]) -> None:
        """Let an optimizer update these trials, whose parameter groups have these names."""
        slices: list[tuple[str, slice, nn.Parameter]] = []
        for group, of_group in zip(settings.optimizer.param_groups, names, strict=True):
            views = [
                (name, part, nn.Parameter(self._stacked[name].detach()[part], self._stacked[name].requires_grad))
                for name in of_group
                for part in parts
            ]
            slices += views
            group["params"] = [view for _, _, view in views]
            on_cpu = all(view.device.type == "cpu" for view in group["params"])
            is_free = group.get("fused", False) is None and group.get("foreach") is None
            if on_cpu and is_free and not group.get("differentiable"):
                group["fused"] = True
        self._settings.append(settings)
        self._slices.append(slices)


def alike(one: Settings, other: Settings) -> bool:
    """Whether two trials' optimizers and schedulers would do the same to the same gradients."""
    if type(one.optimizer) is not type(other.optimizer) or one.interval != other.interval:
        return False
    if not _same_schedule(one.scheduler, other.scheduler):
        return False
    return [_numbers(group) for group in one.optimizer.param_groups] == [
        _numbers(group) for group in other.optimizer.param_groups
    ]


def _same_schedule(one: LRScheduler | None, other: LRScheduler | None) -> bool:
    """Only of schedulers that are numbers through and through: whether two functions do the same cannot be seen."""
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and type(one) in _OF_NUMBERS and one.state_dict() == other.state_dict()


def _names_of_groups(model: LightningModule, settings: Settings) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    try:
        return [[names[id(parameter)] for parameter in group["params"]] for group in settings.optimizer.param_groups]
    except KeyError:
        raise NotFusable("its optimizer has a parameter that is not registered in the module") from None


def _numbers(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}

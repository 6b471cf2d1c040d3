"""Optimizers of the trials of a group, on slices of the stacked parameters.

What `configure_optimizers` of a trial returns is used unchanged: its class, its parameter groups with their learning
rates and weight decays, its schedulers. Only the parameters are replaced, by slices (views) of the stacked ones with
the matching slices of the stacked gradients. Torch's optimizers work element by element, so a slice of many trials is
updated as each trial would be. Trials whose optimizers have equal settings share one slice and one step.
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

_ELEMENTWISE = (
    *(torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad),
    *(torch.optim.Adadelta, torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Rprop),
)

_COMPARABLE_SCHEDULERS = {
    *(lr_scheduler.StepLR, lr_scheduler.MultiStepLR, lr_scheduler.ConstantLR, lr_scheduler.LinearLR),
    *(lr_scheduler.ExponentialLR, lr_scheduler.PolynomialLR, lr_scheduler.CosineAnnealingLR),
    lr_scheduler.CosineAnnealingWarmRestarts,
}
"""Schedulers whose state is numbers only; whether two functions do the same cannot be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """Return value of configure_optimizers of one trial. scheduler: None, or a function of its step alone."""

    optimizer: Optimizer
    scheduler: LRScheduler | None
    interval: str = "epoch"

    def step_scheduler(self, interval: str) -> None:
        """Step the scheduler if it counts this interval ("step" or "epoch")."""
        if self.scheduler is not None and self.interval == interval:
            self.scheduler.step()

    def is_equal(self, other: "OptimizerSettings") -> bool:
        """Return whether optimizers and schedulers of two trials do the same to equal gradients."""
        if type(self.optimizer) is not type(other.optimizer) or self.interval != other.interval:
            return False
        if not _are_equal_schedules(self.scheduler, other.scheduler):
            return False
        return [_select_options(group) for group in self.optimizer.param_groups] == [
            _select_options(group) for group in other.optimizer.param_groups
        ]


def read_optimizer_settings(model: LightningModule) -> OptimizerSettings:
    """Read the optimizer and scheduler of a module, in any of the forms that Lightning accepts for one of each.

    Raises:
        NotFusable: there are several optimizers, one is not elementwise, or a scheduler watches a metric.
    """
    optimizer, entry = _split_returned(model.configure_optimizers())
    if optimizer is None:
        raise NotFusable("configure_optimizers returns no optimizer")
    if type(optimizer) not in _ELEMENTWISE:
        raise NotFusable(f"{type(optimizer).__name__} is not known to update each element by itself")
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:  # noqa: SLF001 -- no public name
        raise NotFusable(f"its {type(optimizer).__name__} has hooks")
    if not entry:
        return OptimizerSettings(optimizer=optimizer, scheduler=None)
    scheduler = entry.get("scheduler")
    if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise NotFusable(f"{type(scheduler).__name__} is not a function of the step alone")
    for key, accepted in (("frequency", {1}), ("interval", {"step", "epoch"})):
        if key in entry and entry[key] not in accepted:
            raise NotFusable(f"its scheduler has the {key} {entry[key]!r}, which only the Lightning Trainer supports")
    return OptimizerSettings(optimizer=optimizer, scheduler=scheduler, interval=entry.get("interval", "epoch"))


def _split_returned(returned: Any) -> tuple[Any, dict[str, Any]]:
    """Split what configure_optimizers returns, in any of its forms, into an optimizer and its scheduler's entry."""
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


class FusedOptimizers:
    """Optimizers of T trials over their stacked parameters, one for all trials with equal settings.

    Args:
        models: (T,), whose parameters the optimizers hold until now.
        settings: (T,), of each model.
        parameters: name -> (T, *shape), the stacked leaves that backward fills.
    """

    def __init__(
        self,
        models: Sequence[LightningModule],
        settings: Sequence[OptimizerSettings],
        parameters: dict[str, nn.Parameter],
    ) -> None:
        self._parameters = parameters
        self._settings: list[OptimizerSettings] = []
        self._slices: list[list[tuple[str, slice, nn.Parameter]]] = []
        names = [_find_parameter_names(model, own) for model, own in zip(models, settings, strict=True)]
        equal: list[list[int]] = []  # indices of trials with equal settings
        for index, own in enumerate(settings):
            for indices in equal:
                if names[indices[0]] == names[index] and settings[indices[0]].is_equal(own):
                    indices.append(index)
                    break
            else:
                equal.append([index])
        for indices in equal:
            self._assign(settings[indices[-1]], names[indices[-1]], _merge_indices(indices))

    def step(self) -> None:
        """Update every trial from the gradients that backward left, and drop the gradients."""
        for settings, slices in zip(self._settings, self._slices, strict=True):
            for name, part, view in slices:
                gradient = self._parameters[name].grad
                view.grad = None if gradient is None else gradient[part]
            settings.optimizer.step()
            settings.step_scheduler("step")
        for parameter in self._parameters.values():
            parameter.grad = None

    def end_epoch(self) -> None:
        """Step the schedulers that count epochs."""
        for settings in self._settings:
            settings.step_scheduler("epoch")

    def _assign(self, settings: OptimizerSettings, names: Sequence[Sequence[str]], parts: Sequence[slice]) -> None:
        """Give an optimizer the trials that it updates.

        Args:
            settings: of one of the trials.
            names: of the parameters, by parameter group.
            parts: slices of trial indices.
        """
        slices: list[tuple[str, slice, nn.Parameter]] = []
        for group, names_of_group in zip(settings.optimizer.param_groups, names, strict=True):
            views = [
                (name, part, nn.Parameter(self._parameters[name].detach()[part], self._parameters[name].requires_grad))
                for name in names_of_group
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


def _merge_indices(indices: Sequence[int]) -> list[slice]:
    """Return ascending indices as slices, one for each run of neighbours."""
    slices: list[slice] = []
    for index in indices:
        if slices and slices[-1].stop == index:
            slices[-1] = slice(slices[-1].start, index + 1)
        else:
            slices.append(slice(index, index + 1))
    return slices


def _are_equal_schedules(one: LRScheduler | None, other: LRScheduler | None) -> bool:
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and type(one) in _COMPARABLE_SCHEDULERS and one.state_dict() == other.state_dict()


def _find_parameter_names(model: LightningModule, settings: OptimizerSettings) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    try:
        return [[names[id(parameter)] for parameter in group["params"]] for group in settings.optimizer.param_groups]
    except KeyError:
        raise NotFusable("its optimizer has a parameter that is not registered in the module") from None


def _select_options(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}

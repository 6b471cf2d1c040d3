"""Structure of trials: reasons why one cannot be fused, and which ones can share a loop.

Structure decides, not a list of argument names. Trials share a loop if they have the same data configuration, the same
Trainer arguments and modules of equal structure: the same tree of classes, the same attributes that are not tensors,
the same shapes of parameters and buffers. Seeds, initial values, dropout rates, activations and everything that only
configure_optimizers reads may differ. A module that needs the Lightning Trainer (hooks, gradient hooks, other loops) is
found here; the proof finds what only steps show.
"""

import json
import re
from collections.abc import Mapping
from types import CellType, CodeType, FunctionType
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn
from torch.optim import Optimizer

from experiments.config.instantiate import resolve
from experiments.config.parse_cache import Section
from experiments.fusing.fit.allowed_callbacks import find_early_stopping, find_mechanisms
from experiments.fusing.fit.fused_optimizers import read_optimizer_settings
from experiments.fusing.fit.pretraining import has_pretraining
from experiments.fusing.layers.known_layers import is_activation
from experiments.fusing.reasons import NotFusable
from experiments.training.epoch_metrics import has_epoch_metrics
from experiments.training.step_harness import describe_error
from experiments.training.trainer_stub import NeedsTrainer, TrainerStub
from experiments.trials.identity import TRAINER_PLACEMENT, count_devices

_OWN_LOOPS = ("backward", "optimizer_step", "optimizer_zero_grad", "lr_scheduler_step", "configure_gradient_clipping")
_TRAINER_SHARED = {
    *("max_epochs", "log_every_n_steps", "gradient_clip_val", "gradient_clip_algorithm", "precision", "devices"),
    "callbacks",
}
_HOOKS_OF_EPOCH_METRICS = {
    f"on_{stage}_{moment}" for stage in ("validation", "test") for moment in ("epoch_start", "batch_end", "epoch_end")
}
"""Hooks that a module with `epoch_metrics` may override; see epoch_metrics.py."""
_PRECISIONS = (None, "32-true", "32", 32, "64-true", "64", 64)
_SLOW_UNDER_VMAP = (nn.RNNBase, nn.EmbeddingBag)
_ASSUMED_NUM_BATCHES = 1000
"""Batches in an epoch, as long as the data are not read; training itself uses the true number."""
_LIGHTNING_ATTRIBUTES = set(vars(LightningModule()))


def find_reason_not_fusable(
    config: Mapping[str, Any], model: LightningModule, data: LightningDataModule | None
) -> str | None:
    """Return the reason why a trial cannot be fused, as a clause; None if there is none.

    Args:
        config: the trial's resolved configuration.
        model: built from its model section.
        data: built from its data section; None if the model has its own loaders.
    """
    if data is None:
        return "the model brings its own dataloaders"
    try:
        _check_trainer(config.get("trainer") or {})
        _check_module(model)
        _check_data(data)
        model.trainer = TrainerStub(config["trainer"]["max_epochs"], _ASSUMED_NUM_BATCHES)  # type: ignore[assignment]
        model.configure_model()
        settings = read_optimizer_settings(model)
        _check_parameters(model, settings.optimizer, is_clipped=bool(config["trainer"].get("gradient_clip_val")))
    except (NotFusable, NeedsTrainer) as finding:
        return str(finding)
    except Exception as error:  # noqa: BLE001 -- a user's configure_optimizers may raise anything
        return f"without a Trainer it raises {describe_error(error)}"
    return None


def describe_structure(config: Mapping[str, Any], model: LightningModule) -> str:
    """Return a text that is equal for trials that may share a loop, whatever their seeds."""
    modules = _find_modules(model)
    tree = [
        (name, "activation")
        if is_activation(module)
        else (name, _class_path(module), module.training, _describe_attributes(module))
        for name, module in modules.items()
    ]
    tensors = [
        (name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if not is_activation(modules[name.rpartition(".")[0]])
    ]
    trainer = {key: value for key, value in (config.get("trainer") or {}).items() if key not in TRAINER_PLACEMENT}
    return json.dumps([config.get("data"), trainer, tree, tensors], default=repr, sort_keys=True)


def has_convolutions(model: LightningModule) -> bool:
    """Return whether a model has convolutions; on a CPU, each one fills the caches by itself."""
    return any(isinstance(module, nn.modules.conv._ConvNd) for module in model.modules())  # noqa: SLF001


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    if trainer.get("logger"):
        raise NotFusable("trainer.logger is set, and a logger records one trial at a time")
    if count_devices(trainer.get("devices")) > 1:
        raise NotFusable(f"trainer.devices is {trainer['devices']!r}, and a group is trained on one device")
    defaults = resolve(Section.of("trainer", {}))
    for key, value in trainer.items():
        if key in _TRAINER_SHARED or key in TRAINER_PLACEMENT or value == defaults.get(key):
            continue
        raise NotFusable(f"trainer.{key} is {value!r}, which only the Lightning Trainer supports")
    find_early_stopping(trainer.get("callbacks"))
    find_mechanisms(trainer.get("callbacks"))
    if trainer.get("precision") not in _PRECISIONS:
        raise NotFusable(f"trainer.precision is {trainer['precision']!r}; fused training has 32-true and 64-true")
    if not isinstance(trainer.get("max_epochs"), int) or trainer["max_epochs"] < 1:
        raise NotFusable("trainer.max_epochs is not set")


def _check_module(model: LightningModule) -> None:
    kind = type(model)
    if not model.automatic_optimization:
        raise NotFusable(f"{kind.__name__} uses manual optimization (automatic_optimization = False)")
    hooks = [name for name in dir(LightningModule) if name.startswith("on_") or name in _OWN_LOOPS]
    hooks = [name for name in hooks if name not in {"on_save_checkpoint", "on_load_checkpoint"}]
    hooks += ["setup", "teardown", "configure_callbacks", "transfer_batch_to_device", "log", "log_dict"]
    allowed = _HOOKS_OF_EPOCH_METRICS if has_epoch_metrics(model) else set()
    allowed = allowed | {"on_fit_start"} if has_pretraining(model) else allowed
    for name in hooks:
        if name not in allowed and getattr(kind, name) is not getattr(LightningModule, name):
            raise NotFusable(f"{kind.__name__} overrides {name}")
    _check_layers(model)
    if next(model.parameters(), None) is None:
        raise NotFusable(f"{kind.__name__} has no parameters once it is built")


def _check_layers(model: LightningModule) -> None:
    kind = type(model)
    for name, module in model.named_modules():
        if isinstance(module, _SLOW_UNDER_VMAP):
            raise NotFusable(f"{kind.__name__}.{name} is a {type(module).__name__}, which vmap cannot batch")
        if isinstance(module, nn.Embedding) and module.sparse:
            raise NotFusable(f"{kind.__name__}.{name} has sparse gradients")
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.momentum is None:  # noqa: SLF001
            raise NotFusable(f"{kind.__name__}.{name} is a batch norm with momentum=None, which vmap cannot batch")
        if type(module).__module__.startswith("torchmetrics"):
            raise NotFusable(f"{kind.__name__}.{name} is a torchmetrics object, which keeps a state between steps")
        if nn.parameter.is_lazy(next(module.parameters(recurse=False), torch.empty(()))):
            raise NotFusable(f"{kind.__name__}.{name} has no shape before its first batch")


def _check_data(data: LightningDataModule) -> None:
    for name in ("transfer_batch_to_device", "on_before_batch_transfer", "on_after_batch_transfer"):
        if getattr(type(data), name) is not getattr(LightningDataModule, name):
            raise NotFusable(f"{type(data).__name__} overrides {name}")


def _check_parameters(model: LightningModule, optimizer: Optimizer, *, is_clipped: bool) -> None:
    kind = type(model).__name__
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise NotFusable(f"{kind}.{name} is of type {parameter.dtype}")
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:  # noqa: SLF001 -- no public name
            raise NotFusable(f"{kind}.{name} has a hook on its gradient")
    updated = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if is_clipped and any(id(parameter) not in updated for parameter in model.parameters() if parameter.requires_grad):
        raise NotFusable("its gradients are clipped, and its optimizer has only some of the parameters")


def _find_modules(model: LightningModule) -> dict[str, nn.Module]:
    """Return the modules by name, without dropout in a sequence: a trial without dropout has a rate of 0."""
    in_sequence = {
        id(child)
        for module in model.modules()
        if type(module) is nn.Sequential
        for child in module.children()
        if type(child) is nn.Dropout
    }
    return {name: module for name, module in model.named_modules() if id(module) not in in_sequence}


def _class_path(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _describe_attributes(module: nn.Module) -> dict[str, str]:
    """Return a module's attributes as text, without tensors, modules and attributes of Lightning itself.

    Of the LightningModule, only attributes that its steps may read are returned; those that only configure_optimizers
    reads may differ.
    """
    attributes = {
        name: _describe(value)
        for name, value in vars(module).items()
        if name not in _LIGHTNING_ATTRIBUTES and not isinstance(value, torch.Tensor | nn.Module)
    }
    if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001
        attributes.pop("p", None)
    if isinstance(module, LightningModule):
        read = _find_names_read(type(module))
        attributes |= {f"hparams.{name}": _describe(value) for name, value in module.hparams.items()}
        attributes = {name: value for name, value in attributes.items() if name.rpartition(".")[2] in read}
    return attributes


def _describe(value: object) -> str:
    """Return a value as text without its address; functions differ by their code, objects by their class."""
    code = getattr(value, "__code__", None)
    if code is not None:
        return f"{getattr(value, '__qualname__', '')} {code.co_code!r} {code.co_consts!r} {code.co_names!r}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _find_names_read(kind: type) -> set[str]:
    """Return every name in the code of the steps and of all functions that they may call.

    This covers methods of all bases, properties, wrapped functions, nested functions, and functions of the modules in
    which these are written, but not functions of torch and Lightning.
    """
    names: set[str] = set()
    to_visit: list[Any] = [(kind, name) for name in ("training_step", "validation_step", "test_step", "forward")]
    visited: set[int] = set()
    while to_visit:
        item = to_visit.pop()
        if isinstance(item, tuple):  # a name in the class and in its bases, which super() reaches
            to_visit += [vars(base)[item[1]] for base in item[0].__mro__ if item[1] in vars(base)]
            continue
        if isinstance(item, property):
            to_visit += [function for function in (item.fget, item.fset) if function is not None]
            continue
        function = getattr(item, "__func__", item)
        to_visit += [function.__wrapped__] if hasattr(function, "__wrapped__") else []
        code = function if isinstance(function, CodeType) else getattr(function, "__code__", None)
        module = str(getattr(function, "__module__", ""))
        if code is None or id(code) in visited or module.startswith(("lightning.", "torch.")):
            continue
        visited.add(id(code))
        to_visit += [const for const in code.co_consts if isinstance(const, CodeType)]
        to_visit += [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _is_filled(cell)]
        scope = getattr(function, "__globals__", {})
        for name in (*code.co_names, *(const for const in code.co_consts if isinstance(const, str))):
            to_visit += [scope[name]] if isinstance(scope.get(name), FunctionType) else []
            if name not in names:
                names.add(name)
                to_visit.append((kind, name))
    return names


def _is_filled(cell: CellType) -> bool:
    try:
        return isinstance(cell.cell_contents, FunctionType)
    except ValueError:
        return False

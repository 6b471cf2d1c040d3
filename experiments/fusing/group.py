"""Which trials can share one training loop, and why another cannot.

Decided by structure and not by lists of argument names: trials share a loop when they read the same data configuration
under the same Trainer arguments, and when their modules are built alike: the same tree of classes with the same
attributes that are not tensors, the same shapes of parameters and buffers. Seeds, initial values, dropout rates,
activations without parameters, and what configure_optimizers does with learning rates and the like may differ. What a
step does that cannot be shared (reading the Trainer, keeping a state, overriding a hook) is why a trial stays alone.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn

from experiments.build import resolved
from experiments.identity import TRAINER_PLACEMENT

from .findings import NotFusable
from .layers import is_activation
from .standin import TrainerStandIn
from .stopping import patience_of
from .updating import settings_of

_STEPS = {"training_step", "validation_step", "test_step", "forward", "configure_optimizers", "configure_model"}
_OWN_LOOPS = ("backward", "optimizer_step", "optimizer_zero_grad", "lr_scheduler_step", "configure_gradient_clipping")
_TRAINER_SHARED = {
    "max_epochs",
    "log_every_n_steps",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
    "devices",
    "callbacks",
}
_PRECISIONS = (None, "32-true", "32", 32, "64-true", "64", 64)
_SLOW_UNDER_VMAP = (nn.RNNBase, nn.EmbeddingBag)
SOME_BATCHES = 1000
"""In an epoch, as long as the data are not read; schedulers get the true number when they are used."""
_MACHINERY = set(vars(LightningModule()))


def why_alone(config: Mapping[str, Any], model: LightningModule, data: LightningDataModule | None) -> str | None:
    """One sentence on what in a trial keeps it out of every group; None when nothing does.

    Arguments:
        config: the trial's resolved configuration.
        model: what its model section builds.
        data: what its data section builds.
    """
    if data is None:
        return "the model brings its own dataloaders"
    try:
        _check_trainer(config.get("trainer") or {})
        _check_module(model)
        model.trainer = TrainerStandIn(config["trainer"]["max_epochs"], SOME_BATCHES)  # type: ignore[assignment]
        settings_of(model)
    except NotFusable as finding:
        return str(finding)
    except Exception as error:  # noqa: BLE001 -- a user's configure_optimizers may raise anything
        return f"configure_optimizers raises {type(error).__name__} without a Trainer: {error}"
    return None


def structure(config: Mapping[str, Any], model: LightningModule) -> str:
    """A text that is equal for trials that may share a loop, whatever their seeds."""
    parts = _parts(model)
    tree = [
        (name, "activation")
        if is_activation(module)
        else (name, f"{type(module).__module__}.{type(module).__qualname__}", _attributes(module))
        for name, module in parts.items()
    ]
    tensors = [
        (name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if not is_activation(parts[name.rpartition(".")[0]])
    ]
    trainer = {key: value for key, value in (config.get("trainer") or {}).items() if key not in TRAINER_PLACEMENT}
    return json.dumps([config.get("data"), trainer, tree, tensors], default=repr, sort_keys=True)


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    defaults = resolved("trainer", {})
    for key, value in trainer.items():
        if key in _TRAINER_SHARED or key in TRAINER_PLACEMENT or value == defaults.get(key):
            continue
        raise NotFusable(f"trainer.{key} is {value!r}, which only the Lightning Trainer does")
    patience_of(trainer.get("callbacks"))
    if trainer.get("devices") not in {"auto", None, 1, "1"}:
        raise NotFusable(f"trainer.devices is {trainer['devices']!r}: one trial on several devices is Lightning's own")
    if trainer.get("precision") not in _PRECISIONS:
        raise NotFusable(f"trainer.precision is {trainer['precision']!r}")
    if not isinstance(trainer.get("max_epochs"), int) or trainer["max_epochs"] < 1:
        raise NotFusable("trainer.max_epochs is not set")


def _check_module(model: LightningModule) -> None:
    kind = type(model)
    if not model.automatic_optimization:
        raise NotFusable(f"{kind.__name__} optimizes by hand (automatic_optimization = False)")
    hooks = [name for name in dir(LightningModule) if name.startswith("on_") or name in _OWN_LOOPS]
    hooks += [
        "setup",
        "teardown",
        "configure_callbacks",
        "transfer_batch_to_device",
        "log",
        "log_dict",
    ]
    for name in hooks:
        if name not in _STEPS and getattr(kind, name) is not getattr(LightningModule, name):
            raise NotFusable(f"{kind.__name__} overrides {name}")
    for name, module in model.named_modules():
        if isinstance(module, _SLOW_UNDER_VMAP):
            raise NotFusable(f"{kind.__name__}.{name} is a {type(module).__name__}, which vmap cannot batch")
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.momentum is None:  # noqa: SLF001
            raise NotFusable(f"{kind.__name__}.{name} is a batch norm with momentum=None, which vmap cannot batch")
        if type(module).__module__.startswith("torchmetrics"):
            raise NotFusable(f"{kind.__name__}.{name} is a torchmetrics object, which keeps a state of its own")
        if nn.parameter.is_lazy(next(module.parameters(recurse=False), torch.empty(()))):
            raise NotFusable(f"{kind.__name__}.{name} has no shape before its first batch")
    if next(model.parameters(), None) is None:
        raise NotFusable(f"{kind.__name__} has no parameters once it is built")


def _parts(model: LightningModule) -> dict[str, nn.Module]:
    """The modules by name, without dropout in a sequence: a trial that has none is one of rate 0."""
    in_sequence = {
        id(child)
        for module in model.modules()
        if type(module) is nn.Sequential
        for child in module.children()
        if type(child) is nn.Dropout
    }
    return {name: module for name, module in model.named_modules() if id(module) not in in_sequence}


def _attributes(module: nn.Module) -> dict[str, str]:
    """What a module holds that is no tensor, no module and no machinery of torch or Lightning.

    Of the LightningModule itself, only what its steps may read: what configure_optimizers alone reads may differ.
    """
    kept = {
        name: repr(value)
        for name, value in vars(module).items()
        if name not in _MACHINERY and not isinstance(value, torch.Tensor | nn.Module)
    }
    if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001
        kept.pop("p", None)
    if isinstance(module, LightningModule):
        read = _names_read(type(module))
        hyperparameters = {f"hparams.{name}": repr(value) for name, value in module.hparams.items()}
        kept = {name: value for name, value in (kept | hyperparameters).items() if name.rpartition(".")[2] in read}
    return kept


def _names_read(kind: type) -> set[str]:
    """Every name in the code of the steps and of the methods that they may call: at least what they read."""
    names: set[str] = set()
    waiting = ["training_step", "validation_step", "test_step", "forward"]
    while waiting:
        function = getattr(kind, waiting.pop(), None)
        code = getattr(function, "__code__", None)
        if code is None or str(function.__module__).startswith(("lightning.", "torch.")):
            continue
        for name in (*code.co_names, *(item for item in code.co_consts if isinstance(item, str))):
            if name not in names:
                names.add(name)
                waiting.append(name)
    return names

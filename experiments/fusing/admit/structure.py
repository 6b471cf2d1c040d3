"""Which trials can share one training loop, and why another cannot.

Decided by structure and not by lists of argument names: trials share a loop when they read the same data configuration
under the same Trainer arguments, and when their modules are built alike: the same tree of classes with the same
attributes that are not tensors, the same shapes of parameters and buffers. Seeds, initial values, dropout rates,
activations, and what configure_optimizers does with learning rates and the like may differ. What is seen here to need a
Trainer of its own (hooks, gradient hooks, other loops) is why a trial stays alone; what only steps show is found by the
proof.
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
from experiments.fusing.fit.pretraining import has_pretraining
from experiments.fusing.fit.stopping import mechanisms_of, patience_of
from experiments.fusing.fit.updates import settings_of
from experiments.fusing.layers.known_layers import is_activation
from experiments.fusing.reasons import NotFusable
from experiments.training.epoch_metrics import has_epoch_metrics
from experiments.training.trainer_stub import NeedsTrainer, TrainerStub
from experiments.trials.identity import TRAINER_PLACEMENT, count_devices

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
_HOOKS_OF_EPOCH_METRICS = {
    f"on_{stage}_{moment}" for stage in ("validation", "test") for moment in ("epoch_start", "batch_end", "epoch_end")
}
"""What a module with `epoch_metrics` may override; see epoch_metrics.py."""
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
        _check_data(data)
        model.trainer = TrainerStub(config["trainer"]["max_epochs"], SOME_BATCHES)  # type: ignore[assignment]
        model.configure_model()
        settings = settings_of(model)
        _check_parameters(model, settings.optimizer, is_clipped=bool(config["trainer"].get("gradient_clip_val")))
    except (NotFusable, NeedsTrainer) as finding:
        return str(finding)
    except Exception as error:  # noqa: BLE001 -- a user's configure_optimizers may raise anything
        return f"without a Trainer it raises {type(error).__name__}: {error}"
    return None


def structure(config: Mapping[str, Any], model: LightningModule) -> str:
    """A text that is equal for trials that may share a loop, whatever their seeds."""
    parts = _parts(model)
    tree = [
        (name, "activation")
        if is_activation(module)
        else (name, f"{type(module).__module__}.{type(module).__qualname__}", module.training, _attributes(module))
        for name, module in parts.items()
    ]
    tensors = [
        (name, tuple(tensor.shape), str(tensor.dtype), tensor.requires_grad)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if not is_activation(parts[name.rpartition(".")[0]])
    ]
    trainer = {key: value for key, value in (config.get("trainer") or {}).items() if key not in TRAINER_PLACEMENT}
    return json.dumps([config.get("data"), trainer, tree, tensors], default=repr, sort_keys=True)


def has_convolutions(model: LightningModule) -> bool:
    """Whether its time goes into convolutions: arithmetic on tensors that fill the caches by themselves."""
    return any(isinstance(module, nn.modules.conv._ConvNd) for module in model.modules())  # noqa: SLF001


def _check_trainer(trainer: Mapping[str, Any]) -> None:
    if trainer.get("logger"):
        raise NotFusable("trainer.logger is set, and a logger is told of one trial at a time")
    if count_devices(trainer.get("devices")) > 1:
        raise NotFusable(f"trainer.devices is {trainer['devices']!r}: one trial on several devices is Lightning's own")
    defaults = resolve(Section.of("trainer", {}))
    for key, value in trainer.items():
        if key in _TRAINER_SHARED or key in TRAINER_PLACEMENT or value == defaults.get(key):
            continue
        raise NotFusable(f"trainer.{key} is {value!r}, which only the Lightning Trainer does")
    patience_of(trainer.get("callbacks"))
    mechanisms_of(trainer.get("callbacks"))
    if trainer.get("precision") not in _PRECISIONS:
        raise NotFusable(f"trainer.precision is {trainer['precision']!r}")
    if not isinstance(trainer.get("max_epochs"), int) or trainer["max_epochs"] < 1:
        raise NotFusable("trainer.max_epochs is not set")


def _check_module(model: LightningModule) -> None:
    kind = type(model)
    if not model.automatic_optimization:
        raise NotFusable(f"{kind.__name__} optimizes by hand (automatic_optimization = False)")
    hooks = [name for name in dir(LightningModule) if name.startswith("on_") or name in _OWN_LOOPS]
    hooks = [name for name in hooks if name not in {"on_save_checkpoint", "on_load_checkpoint"}]
    hooks += [
        "setup",
        "teardown",
        "configure_callbacks",
        "transfer_batch_to_device",
        "log",
        "log_dict",
    ]
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
            raise NotFusable(f"{kind.__name__}.{name} is a torchmetrics object, which keeps a state of its own")
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
    taken = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if is_clipped and any(id(parameter) not in taken for parameter in model.parameters() if parameter.requires_grad):
        raise NotFusable("its gradients are clipped, and its optimizer has only some of the parameters")


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
        name: _text(value)
        for name, value in vars(module).items()
        if name not in _MACHINERY and not isinstance(value, torch.Tensor | nn.Module)
    }
    if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001
        kept.pop("p", None)
    if isinstance(module, LightningModule):
        read = _names_read(type(module))
        hyperparameters = {f"hparams.{name}": _text(value) for name, value in module.hparams.items()}
        kept = {name: value for name, value in (kept | hyperparameters).items() if name.rpartition(".")[2] in read}
    return kept


def _text(value: object) -> str:
    """What a value shows of itself, without its address; functions differ by their code, objects by their class."""
    code = getattr(value, "__code__", None)
    if code is not None:
        return f"{getattr(value, '__qualname__', '')} {code.co_code!r} {code.co_consts!r} {code.co_names!r}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _names_read(kind: type) -> set[str]:
    """Every name in the code of the steps and of whatever they may call: at least what they read.

    Looked into are methods of all bases, properties, what decorators wrap, nested functions, and functions of the
    modules in which they are written, but not those of torch and Lightning.
    """
    names: set[str] = set()
    waiting: list[Any] = [(kind, name) for name in ("training_step", "validation_step", "test_step", "forward")]
    seen: set[int] = set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):  # a name of the class: its own and those of its bases, which super() reaches
            waiting += [vars(base)[item[1]] for base in item[0].__mro__ if item[1] in vars(base)]
            continue
        if isinstance(item, property):
            waiting += [function for function in (item.fget, item.fset) if function is not None]
            continue
        function = getattr(item, "__func__", item)
        waiting += [function.__wrapped__] if hasattr(function, "__wrapped__") else []
        code = function if isinstance(function, CodeType) else getattr(function, "__code__", None)
        module = str(getattr(function, "__module__", ""))
        if code is None or id(code) in seen or module.startswith(("lightning.", "torch.")):
            continue
        seen.add(id(code))
        waiting += [const for const in code.co_consts if isinstance(const, CodeType)]
        waiting += [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _is_filled(cell)]
        scope = getattr(function, "__globals__", {})
        for name in (*code.co_names, *(const for const in code.co_consts if isinstance(const, str))):
            waiting += [scope[name]] if isinstance(scope.get(name), FunctionType) else []
            if name not in names:
                names.add(name)
                waiting.append((kind, name))
    return names


def _is_filled(cell: CellType) -> bool:
    try:
        return isinstance(cell.cell_contents, FunctionType)
    except ValueError:
        return False

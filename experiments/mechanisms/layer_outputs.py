"""Layers of a module that are measured: their names, their order and their outputs.

In any LightningModule, a weight is a parameter of two or more axes. Outputs are measured of modules that own a weight,
and of activations. T trials, B examples of the probe.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

_RECTIFIERS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Softplus, nn.Hardswish, nn.Threshold),
)
"""ReLU and activations that replace it; dead units are measured of all of them."""

_KINDS: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    ((nn.Sigmoid,), "sigmoid"),
    ((nn.Tanh,), "tanh"),
    (_RECTIFIERS, "rectifier"),
    ((nn.Hardtanh, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink), "other"),
)
_MIN_AXES = 2
_SINGLE_BYTES = 4
_PARAMETRIZED = re.compile(r"\.parametrizations\.(\w+)\.original(\d*)$")


@dataclass(slots=True)
class Output:
    """Outputs of a layer at each call, (T, B, ...) each. units_first: whether the axis after B is that of units."""

    units_first: bool
    calls: list[Tensor] = field(default_factory=list)


def classify_layer(module: nn.Module | None) -> str | None:
    """Return "sigmoid", "tanh", "rectifier" or "other" for activations, "layer" for a module with a weight, else None.

    >>> modules = nn.Tanh(), nn.PReLU(), nn.Linear(1, 1), nn.BatchNorm1d(1), nn.Identity()
    >>> [classify_layer(module) for module in modules]
    ['tanh', 'rectifier', 'layer', None, None]
    """
    if module is None:
        return None
    kind = next((kind for classes, kind in _KINDS if isinstance(module, classes)), None)
    return "layer" if kind is None and _has_own_weight(module) else kind


def find_weights(module: nn.Module) -> dict[str, str]:
    """Map the parameter name of every weight to the name of its module, in order of registration."""
    return {
        name: name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
        for name, weight in module.named_parameters()
        if weight.dim() >= _MIN_AXES
    }


def order_by_data_flow(module: nn.Module, called: Iterable[str]) -> list[str]:
    """Return the names of all modules with weights or outputs, in the order in which data flow through them.

    Args:
        module: has them.
        called: names of the modules that were called on a batch, in order of their first calls. A module that is not
            called, since its weight is used directly, follows the one that is registered before it.
    """
    order = [*called]
    before = None
    for name in dict.fromkeys(find_weights(module).values()):
        if name not in order:
            order.insert(0 if before is None else order.index(before) + 1, name)
        before = name
    return order


def shorten_names(names: Sequence[str]) -> dict[str, str]:
    """Map names of modules or weights to those in metrics: without the prefix "layers." and the suffix ".weight".

    >>> shorten_names(["layers.linear1.weight", "layers.gru.weight_hh_l0", "table"])
    {'layers.linear1.weight': 'linear1', 'layers.gru.weight_hh_l0': 'gru.weight_hh_l0', 'table': 'table'}
    """
    plain = {name: _PARAMETRIZED.sub(r".\1\2", name).removesuffix(".weight") for name in names}
    short = {name: shorter.removeprefix("layers.") for name, shorter in plain.items()}
    return next(each for each in (short, plain, {name: name for name in names}) if len({*each.values()}) == len(each))


class OutputRecorder:
    """Record of the outputs of layers. outputs: name -> output, in order of first calls.

    Args:
        modules: name -> module, of all that may be called.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.outputs: dict[str, Output] = {}
        self._modules = modules
        self._after_convolution = False

    def add(self, name: str, values: Tensor) -> None:
        """Add the output of one call. values: (T, B, ...), floating-point."""
        module = self._modules[name]
        if _has_own_weight(module):
            self._after_convolution = isinstance(module, nn.modules.conv._ConvNd)  # noqa: SLF001 -- no public name
        units_first = self._after_convolution and values.dim() > 3  # noqa: PLR2004
        precise = values.float() if values.element_size() < _SINGLE_BYTES else values
        self.outputs.setdefault(name, Output(units_first)).calls.append(precise)


def find_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return the submodules whose outputs are measured, by name."""
    return {name: part for name, part in module.named_modules() if name and classify_layer(part) is not None}


@contextlib.contextmanager
def hook_outputs(modules: Mapping[str, nn.Module], hook: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """Pass the output of each call of these modules through a function; of several tensors, the first."""
    handles = [part.register_forward_hook(partial(_run_hook, name, hook)) for name, part in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def disable_dropout(module: nn.Module) -> None:
    """Turn off dropout in all layers of a module, in training mode too."""
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):  # noqa: SLF001 -- no public name
            part.training = False
        elif isinstance(part, nn.RNNBase | nn.MultiheadAttention):
            part.dropout = 0.0


def disable_inplace(module: nn.Module) -> None:
    """Turn off in-place operation in all layers of a module, which would overwrite the outputs before them."""
    for part in module.modules():
        if "inplace" in vars(part):
            vars(part)["inplace"] = False


def _run_hook(name: str, hook: Callable[[str, Tensor], Tensor], *arguments: Any) -> Any:
    *_, output = arguments  # after the module and its inputs
    if isinstance(output, Tensor):
        return hook(name, output) if output.is_floating_point() and output.dim() > 0 else output
    if type(output) is tuple and output and isinstance(output[0], Tensor) and output[0].is_floating_point():
        return (hook(name, output[0]), *output[1:])
    return output


def _has_own_weight(module: nn.Module) -> bool:
    """Return whether a module owns a weight, or one that is computed from others (torch.nn.utils.parametrize)."""
    if isinstance(module, ParametrizationList):
        return False
    own = [*module.parameters(recurse=False)]
    if is_parametrized(module):
        own += [*module.parametrizations.parameters()]  # type: ignore[union-attr]
    return any(weight.dim() >= _MIN_AXES for weight in own)


def join_calls(output: Output) -> tuple[Tensor, int]:
    """Concatenate the C calls of a layer to one with more examples, (T, C B, ...). Return it and the axis of units."""
    calls = [call.unsqueeze(2) if call.dim() == 2 else call for call in output.calls]  # noqa: PLR2004
    unit_dim = 2 if output.units_first else -1
    if len(calls) == 1:
        return calls[0], unit_dim
    if len({call.shape[2:] for call in calls}) == 1:
        return torch.cat(calls, dim=1), unit_dim
    return torch.cat([call.flatten(2).flatten(1) for call in calls], dim=1).unsqueeze(2), -1

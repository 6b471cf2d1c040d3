"""Which layers of a module are told of, under which names, in which order, and what they put out.

Any LightningModule: a weight is a parameter of two or more axes, whatever it is called; outputs are those of the
modules that own one, and of activations. T trials, B examples of the probe.
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
"""ReLU and what is put in its place; whether units of the others die is measured as it is of ReLU's."""

_KINDS: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    ((nn.Sigmoid,), "sigmoid"),
    ((nn.Tanh,), "tanh"),
    (_RECTIFIERS, "rectifier"),
    ((nn.Hardtanh, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink), "other"),
)
_FEWEST_AXES = 2
_BYTES_OF_SINGLE = 4
_PARAMETRIZED = re.compile(r"\.parametrizations\.(\w+)\.original(\d*)$")


@dataclass(slots=True)
class Output:
    """What a layer put out at each call, (T, B, ...) each; units_first: whether units are the axis after B."""

    units_first: bool
    calls: list[Tensor] = field(default_factory=list)


def kind_of(module: nn.Module | None) -> str | None:
    """sigmoid, tanh, rectifier, other activation, or layer, which has a weight; None for what is not told of.

    >>> [kind_of(module) for module in (nn.Tanh(), nn.PReLU(), nn.Linear(1, 1), nn.BatchNorm1d(1), nn.Identity())]
    ['tanh', 'rectifier', 'layer', None, None]
    """
    if module is None:
        return None
    kind = next((kind for classes, kind in _KINDS if isinstance(module, classes)), None)
    return "layer" if kind is None and _has_own_weight(module) else kind


def weights_of(module: nn.Module) -> dict[str, str]:
    """Every weight's name as a parameter -> the name of the module that owns it, in order of registration."""
    return {
        name: name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
        for name, weight in module.named_parameters()
        if weight.dim() >= _FEWEST_AXES
    }


def in_flow(module: nn.Module, called: Iterable[str]) -> list[str]:
    """The names of all modules with weights or outputs, in the order in which data flow through them.

    Arguments:
        module: that has them.
        called: those that were called on a batch, in order of their first calls. What is not called, since its weight
            is used without it, stands after the one that is registered before it.
    """
    order = [*called]
    before = None
    for name in dict.fromkeys(weights_of(module).values()):
        if name not in order:
            order.insert(0 if before is None else order.index(before) + 1, name)
        before = name
    return order


def shown(names: Sequence[str]) -> dict[str, str]:
    """Names of modules or weights -> what metrics call them: without "layers." in front and ".weight" behind.

    >>> shown(["layers.linear1.weight", "layers.gru.weight_hh_l0", "table"])
    {'layers.linear1.weight': 'linear1', 'layers.gru.weight_hh_l0': 'gru.weight_hh_l0', 'table': 'table'}
    """
    plain = {name: _PARAMETRIZED.sub(r".\1\2", name).removesuffix(".weight") for name in names}
    short = {name: shorter.removeprefix("layers.") for name, shorter in plain.items()}
    return next(found for found in (short, plain, {name: name for name in names}) if _are_distinct(found))


def _are_distinct(names: Mapping[str, str]) -> bool:
    return len({*names.values()}) == len(names)


class Recorder:
    """Takes in the outputs of layers as they come. outputs: name -> output, in order of first calls.

    Arguments:
        modules: name -> module, of whatever may be called.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.outputs: dict[str, Output] = {}
        self._modules = modules
        self._after_convolution = False

    def add(self, name: str, values: Tensor) -> None:
        """values: (T, B, ...), floating."""
        module = self._modules[name]
        if _has_own_weight(module):
            self._after_convolution = isinstance(module, nn.modules.conv._ConvNd)  # noqa: SLF001 -- no public name
        units_first = self._after_convolution and values.dim() > 3  # noqa: PLR2004
        whole = values.float() if values.element_size() < _BYTES_OF_SINGLE else values
        self.outputs.setdefault(name, Output(units_first)).calls.append(whole)


def watched(module: nn.Module) -> dict[str, nn.Module]:
    """The modules whose outputs are told of; not the whole itself."""
    return {name: part for name, part in module.named_modules() if name and kind_of(part) is not None}


@contextlib.contextmanager
def hooked(modules: Mapping[str, nn.Module], tell: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """Within, what these modules return goes through `tell` when they are called; of several tensors, the first."""
    handles = [part.register_forward_hook(partial(_told, name, tell)) for name, part in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def without_dropout(module: nn.Module) -> None:
    """Let no layer of a module drop anything while it is in training mode."""
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):  # noqa: SLF001 -- no public name
            part.training = False
        elif isinstance(part, nn.RNNBase | nn.MultiheadAttention):
            part.dropout = 0.0


def without_inplace(module: nn.Module) -> None:
    """Let no layer of a module overwrite its input, which is what the layer before it put out."""
    for part in module.modules():
        if "inplace" in vars(part):
            vars(part)["inplace"] = False


def _told(name: str, tell: Callable[[str, Tensor], Tensor], *called: Any) -> Any:
    *_, output = called  # after the module and its inputs
    if isinstance(output, Tensor):
        return tell(name, output) if output.is_floating_point() and output.dim() > 0 else output
    if type(output) is tuple and output and isinstance(output[0], Tensor) and output[0].is_floating_point():
        return (tell(name, output[0]), *output[1:])
    return output


def _has_own_weight(module: nn.Module) -> bool:
    """Whether a module has a weight itself, or one that is computed from others (torch.nn.utils.parametrize)."""
    if isinstance(module, ParametrizationList):
        return False
    own = [*module.parameters(recurse=False)]
    if is_parametrized(module):
        own += [*module.parametrizations.parameters()]  # type: ignore[union-attr]
    return any(weight.dim() >= _FEWEST_AXES for weight in own)


def joined_calls(output: Output) -> tuple[Tensor, int]:
    """All C calls of a layer as one of more examples, (T, C B, ...), and the axis of units."""
    calls = [call.unsqueeze(2) if call.dim() == 2 else call for call in output.calls]  # noqa: PLR2004
    unit_dim = 2 if output.units_first else -1
    if len(calls) == 1:
        return calls[0], unit_dim
    if len({call.shape[2:] for call in calls}) == 1:
        return torch.cat(calls, dim=1), unit_dim
    return torch.cat([call.flatten(2).flatten(1) for call in calls], dim=1).unsqueeze(2), -1

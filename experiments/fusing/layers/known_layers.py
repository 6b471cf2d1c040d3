"""Layers over the trials of all rows at once, without the detour through vmap.

R rows of L trials, T = R * L, B batch. Under `vmap` a layer sees one trial. The layers below step out of it, to tensors
with all trials in front, for two reasons: what trials of a row share can be computed once (the first layer of all is
one matrix product over the columns), and a torch kernel can be given its memory in the order in which it is fastest.
Values are (R, L, B, ...), or (R, 1, B, ...) while they are still the same for every trial of a row. After a linear
layer the batch is the axis that lies dense in memory, which is what batch norm reduces over and the next product reads.

What a layer is not known here runs under vmap as it is written. Either way the group is proven at its first step.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.fusing.reasons import NotFusable

from .embedding_lookup import look_up

Layer = Callable[[Tensor], Tensor]
"""(R, L or 1, B, ...) -> (R, L or 1, B, ...)."""

ELEMENTWISE = (
    *(nn.Identity, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.SELU, nn.Softplus),
    *(nn.Mish, nn.Hardtanh, nn.ReLU6, nn.Hardswish, nn.LogSigmoid, nn.Softsign),
)
"""Activations without parameters; they may differ between the trials of a group, and from PReLU."""

FEW = 16
"""Outputs of a linear layer up to which an example's lie together in memory, and not a unit's."""

_DIMS: dict[type[nn.Module], Sequence[int]] = {
    nn.BatchNorm1d: (2, 3),
    nn.BatchNorm2d: (4,),
    nn.Conv1d: (3,),
    nn.Conv2d: (4,),
    nn.MaxPool2d: (4,),
    nn.AvgPool2d: (4,),
    nn.Embedding: range(9),
}
"""How many axes an input may have, the batch counted, where a layer takes other numbers too, or other numbers only."""


Listener = Callable[[str, Tensor], Tensor]
"""Is told what a layer put out, (R, L or 1, B, ...), and returns what goes on from there."""


class Stack(Protocol):
    """What layers need to know about the trials that they run for: all rows, or some neighbouring ones."""

    shape: tuple[int, int]
    first_row: int
    place: Tensor | None
    listener: Listener | None

    def of(self, name: str) -> Tensor:
        """(T, *shape): the stacked parameter or buffer of that name."""

    def draw(self, like: Tensor, rates: Sequence[float]) -> Tensor:
        """Dropout's noise (R, L, B, ...) for a layer with these rates (T,)."""


def is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation that may stand where another trial has another."""
    return type(module) in ELEMENTWISE or (type(module) is nn.PReLU and module.num_parameters == 1)


def install(template: nn.Module, models: Sequence[nn.Module], stack: Stack) -> None:
    """Let every layer of the template that is known here work for all trials at once.

    Arguments:
        template: the module whose steps run under vmap; one of the models, with every layer that any of them has.
        models: (T,), in their order.
        stack: their parameters and buffers.
    """
    known: dict[int, Layer] = {}
    names = {id(module): name for name, module in template.named_modules()}
    for name, module in reversed(list(template.named_modules())):
        if type(module) is nn.Sequential:
            layer = _sequence(module, names, stack, known)
        else:
            layer = _known(name, module, models, stack)
        if layer is not None:
            known[id(module)] = layer
            module.__dict__["forward"] = _Forward(module, layer, stack)


def _known(name: str, module: nn.Module, models: Sequence[nn.Module], stack: Stack) -> Layer | None:
    kind = type(module)
    if _is_altered(module):
        return None
    if is_activation(module):
        return _activation(name, models, stack)
    if kind is nn.Dropout:
        return _dropout(name, module, models, stack)
    if kind is nn.Flatten and module.start_dim > 0:  # type: ignore[operator]
        return _flatten(module)
    make = {
        nn.Linear: _linear,
        nn.Embedding: _embedding,
        nn.BatchNorm1d: _batch_norm,
        nn.BatchNorm2d: _batch_norm,
        nn.Conv1d: _convolution,
        nn.Conv2d: _convolution,
        nn.MaxPool2d: _pooling,
        nn.AvgPool2d: _pooling,
    }.get(kind)
    return None if make is None else make(name, module, stack)


class _Forward:
    """What a known layer, or a sequence of them, does instead of its own forward."""

    def __init__(self, module: nn.Module, layer: Layer, stack: Stack) -> None:
        self._module, self._layer, self._stack = module, layer, stack

    def __call__(self, x: Tensor) -> Tensor:
        if self._stack.place is None or x.dim() not in _DIMS.get(type(self._module), range(2, 9)):
            return type(self._module).forward(self._module, x)  # type: ignore[no-any-return]
        y: Tensor = _Entered.apply(x, self._stack.place, self._layer, None)
        return y


class _Entered(torch.autograd.Function):
    """Leaves vmap, over columns and then over rows, runs a layer on what is there, and enters it again.

    Inside `vmap` below, ordinary differentiable operations work on ordinary tensors: autograd sees them, not this.
    """

    @staticmethod
    def forward(x: Tensor, place: Tensor, layer: Layer, is_shared: bool | None) -> Tensor:
        raise RuntimeError("layers of fused trials run under vmap only")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, x: Tensor, place: Tensor, layer: Layer, is_shared: bool | None
    ) -> tuple[Tensor, int | None]:
        x = x.unsqueeze(0) if in_dims[0] is None else x.movedim(in_dims[0], 0)
        if is_shared is None:  # over the columns
            y: Tensor = _Entered.apply(x, place, layer, in_dims[0] is None)
            return (y[0], None) if len(y) < info.batch_size else (y, 0)
        return layer(x.expand(info.batch_size, *x.shape[1:])), 0  # over the rows


def _is_altered(module: nn.Module) -> bool:
    """Whether calling a module does something else than its class says."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in module.__dict__  # noqa: SLF001


def _sequence(
    sequence: nn.Sequential, names: Mapping[int, str], stack: Stack, known: Mapping[int, Layer]
) -> Layer | None:
    layers = [(names[id(module)], known[id(module)]) for module in sequence if id(module) in known]
    if not layers or len(layers) < len(sequence) or _is_altered(sequence):
        return None

    def run(x: Tensor) -> Tensor:
        for name, layer in layers:
            x = layer(x)
            if stack.listener is not None:
                x = stack.listener(name, x)
        return x if stack.listener is None else x.clone()  # what is done to it in place is not done to what was told

    return run


def overheard(x: Tensor, name: str, stack: Stack) -> Tensor:
    """What a module put out, told to the listener of the stack on the way. x: (B, ...), under vmap."""
    listener = stack.listener
    assert listener is not None
    y: Tensor = _Entered.apply(x, stack.place, lambda own: listener(name, own).clone(), None)
    return y


def _flatten(module: nn.Module) -> Layer:
    start, end = int(module.start_dim), int(module.end_dim)  # type: ignore[arg-type]
    return lambda x: x.flatten(start + 2, end if end < 0 else end + 2)


def _dropout(name: str, module: nn.Module, models: Sequence[nn.Module], stack: Stack) -> Layer:
    rates, own = [_rate(model, name) for model in models], module.p

    def run(x: Tensor) -> Tensor:
        if module.p != own:
            raise NotFusable(f"a step changes the rate of {name}")
        return x * stack.draw(x, rates) if module.training else x

    return run


def _linear(name: str, module: nn.Module, stack: Stack) -> Layer:
    has_bias = module.bias is not None

    def run(x: Tensor) -> Tensor:
        rows, columns = stack.shape
        weight = stack.of(f"{name}.weight")
        num_out, num_in = weight.shape[1:]
        num = rows if x.shape[1] == 1 else rows * columns  # products, each over the trials that share their input
        inputs, weight = x.reshape(num, -1, num_in), weight.view(num, -1, num_in)
        bias = stack.of(f"{name}.bias").view(num, -1, 1) if has_bias else None
        if num_out <= FEW and num == rows * columns:  # logits, say, whose softmax is over what lies dense
            weight = weight.transpose(1, 2)
            out = torch.bmm(inputs, weight) if bias is None else torch.baddbmm(bias.transpose(1, 2), inputs, weight)
            return out.view(rows, columns, *x.shape[2:-1], num_out)
        inputs = inputs.transpose(1, 2)
        out = torch.bmm(weight, inputs) if bias is None else torch.baddbmm(bias, weight, inputs)
        return out.view(rows, columns, num_out, *x.shape[2:-1]).movedim(2, -1)

    return run


def _embedding(name: str, module: nn.Module, stack: Stack) -> Layer | None:
    layer: Any = module
    if layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse:
        return None
    return lambda ids: look_up(stack.of(f"{name}.weight"), ids, stack.shape, layer.padding_idx)


def _batch_norm(name: str, module: nn.Module, stack: Stack) -> Layer | None:
    layer: Any = module
    if not layer.track_running_stats or layer.momentum is None:
        return None
    affine = [f"{name}.weight", f"{name}.bias"] if layer.affine else [None, None]
    names = [f"{name}.running_mean", f"{name}.running_var", *affine]

    def run(x: Tensor) -> Tensor:
        x = x.expand(*stack.shape, *x.shape[2:])
        if layer.training:
            stack.of(f"{name}.num_batches_tracked").add_(1)
        mean, variance, weight, bias = (None if each is None else stack.of(each).flatten() for each in names)  # views
        out = functional.batch_norm(
            _channels_of_all(x), mean, variance, weight, bias, layer.training, layer.momentum, layer.eps
        )
        return _channels_of_each(out, x.shape)

    return run


def _channels_of_all(x: Tensor) -> Tensor:
    """(R, L, B, C) -> (1, T*C, B), and (R, L, B, C, ...) -> (B, T*C, ...): views, after the layers that come before."""
    if x.dim() == 4:  # noqa: PLR2004
        return x.transpose(2, 3).reshape(1, -1, x.shape[2])
    return x.movedim(2, 0).reshape(x.shape[2], -1, *x.shape[4:])


def _channels_of_each(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The way back, to (R, L, B, ...) of this shape; channels, height and width may be others."""
    rows, columns, batch = shape[:3]
    if len(shape) == 4:  # noqa: PLR2004
        return x.view(rows, columns, -1, batch).transpose(2, 3)
    return x.reshape(batch, rows, columns, -1, *x.shape[2:]).movedim(0, 2)


def _convolution(name: str, module: nn.Module, stack: Stack) -> Layer | None:
    layer: Any = module
    if layer.padding_mode != "zeros":
        return None
    convolve = functional.conv1d if type(module) is nn.Conv1d else functional.conv2d

    def run(x: Tensor) -> Tensor:
        rows, columns = stack.shape
        if layer.groups > 1:
            x = x.expand(rows, columns, *x.shape[2:])
        out = convolve(
            _channels_of_all(x),
            stack.of(f"{name}.weight").flatten(0, 1),
            None if layer.bias is None else stack.of(f"{name}.bias").flatten(),
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups * rows * x.shape[1],  # trials that share their input are channels of one convolution
        )
        return _channels_of_each(out, (rows, columns, *x.shape[2:]))

    return run


def _pooling(_: str, module: nn.Module, __: Stack) -> Layer:
    pool: Callable[[nn.Module, Tensor], Tensor] = type(module).forward
    size = _tile(module)

    def run(x: Tensor) -> Tensor:
        of_all = _channels_of_all(x)
        if size is not None and x.device.type == "cpu" and not torch.is_grad_enabled():
            return _channels_of_each(_largest_of_tiles(of_all, *size), x.shape)
        return _channels_of_each(pool(module, of_all), x.shape)

    return run


def _tile(module: nn.Module) -> tuple[int, int] | None:
    """Height and width of a max pooling whose windows do not overlap; None for any other."""
    layer: Any = module
    pair = torch.nn.modules.utils._pair  # noqa: SLF001 -- how torch reads one number for two
    if type(module) is not nn.MaxPool2d or pair(layer.kernel_size) != pair(layer.stride):
        return None
    is_plain = pair(layer.padding) == (0, 0) and pair(layer.dilation) == (1, 1) and not layer.return_indices
    return pair(layer.kernel_size) if is_plain and not layer.ceil_mode else None


def _largest_of_tiles(x: Tensor, height: int, width: int) -> Tensor:
    """Max pooling without the places of the maxima, which only a backward pass needs: 0.7 against 5 ms on a CPU."""
    rows, columns = x.shape[-2] // height * height, x.shape[-1] // width * width
    tiles = [x[..., i:rows:height, j:columns:width] for i in range(height) for j in range(width)]
    return functools.reduce(torch.maximum, tiles)


def _activation(name: str, models: Sequence[nn.Module], stack: Stack) -> Layer:
    """Each run of neighbouring columns (rows, where a row is one trial) with equal activations gets its own."""
    rows, columns = stack.shape
    axis, num = (1, columns) if columns > 1 else (0, rows)
    runs: list[tuple[int, int, Callable[[Tensor, Tensor | None], Tensor]]] = []
    last = ""
    for place, model in enumerate(models[:num]):
        module = model.get_submodule(name)
        if repr(module) == last:
            runs[-1] = (runs[-1][0], place + 1, runs[-1][2])
        else:
            runs.append((place, place + 1, _one_activation(module)))
        last = repr(module)
    has_slopes = any(type(model.get_submodule(name)) is nn.PReLU for model in models[:num])

    def run(x: Tensor) -> Tensor:
        if len(runs) == 1 and not has_slopes:
            return runs[0][2](x, None)
        slopes = stack.of(f"{name}.weight").view(stack.shape) if has_slopes else None
        x = x.expand(*stack.shape, *x.shape[2:])
        order = sorted(range(2, x.dim()), key=x.stride, reverse=True)  # keep the memory as it lies
        x = x.permute(0, 1, *order)
        first = stack.first_row if axis == 0 else 0
        parts = []
        for start, stop, function in runs:
            start, stop = max(start - first, 0), min(stop - first, x.shape[axis])  # noqa: PLW2901
            if start < stop:
                slope = None if slopes is None else slopes.narrow(axis, start, stop - start)
                parts.append(function(x.narrow(axis, start, stop - start), slope))
        back = [order.index(dim) + 2 for dim in range(2, x.dim())]
        return torch.cat(parts, dim=axis).permute(0, 1, *back)

    return run


def _one_activation(module: nn.Module) -> Callable[[Tensor, Tensor | None], Tensor]:
    """From values (r, l, B, ...) and slopes (r, l) to values; only PReLU looks at the slopes."""
    if isinstance(module, nn.PReLU):
        return _prelu
    own: Any = type(module).__new__(type(module))  # the template's forward is replaced
    own.__dict__.update({key: value for key, value in module.__dict__.items() if key != "forward"})
    if hasattr(own, "inplace"):
        own.inplace = False
    return lambda x, _: own(x)


def _prelu(x: Tensor, slopes: Tensor | None) -> Tensor:
    assert slopes is not None
    return torch.where(x > 0, x, slopes.view(*slopes.shape, *[1] * (x.dim() - 2)) * x)


def _rate(model: nn.Module, name: str) -> float:
    """0 for a model that has no such dropout layer."""
    try:
        return float(model.get_submodule(name).p)  # type: ignore[arg-type]
    except AttributeError:
        return 0.0

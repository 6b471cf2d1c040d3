"""Layers that process the trials of all rows at once, outside vmap.

R rows of L trials, T = R * L, B batch. Under `vmap` a layer sees one trial. The layers below leave vmap and process
tensors with all trials in front, for two reasons: values that trials of a row share are computed once (the first layer
is one matrix product over the columns), and a torch kernel gets its memory in the order in which it is fastest. Values
are (R, L, B, ...), or (R, 1, B, ...) while they are the same for every trial of a row. After a linear layer the batch
is the axis that is dense in memory; batch norm reduces over it, and the next product reads it.

Other layers run under vmap as they are written. In both cases the group is proven at its first step.
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
"""Activations without parameters. The trials of a group may have different ones, and PReLU."""

_MAX_ROW_MAJOR = 16
"""Number of outputs of a linear layer up to which those of an example are neighbours in memory, not those of a unit."""

_DIMS: dict[type[nn.Module], Sequence[int]] = {
    nn.BatchNorm1d: (2, 3),
    nn.BatchNorm2d: (4,),
    nn.Conv1d: (3,),
    nn.Conv2d: (4,),
    nn.MaxPool2d: (4,),
    nn.AvgPool2d: (4,),
    nn.Embedding: range(9),
}
"""Accepted numbers of axes of an input under vmap, the batch included; other layers accept 2 to 8."""


OutputHook = Callable[[str, Tensor], Tensor]
"""Function of a layer's name and output (R, L or 1, B, ...) that returns the output to go on with."""


class Stack(Protocol):
    """Trials that layers run for: all rows, or some neighbouring ones; see StackedModels."""

    shape: tuple[int, int]
    first_row: int
    trial_marker: Tensor | None
    output_hook: OutputHook | None

    def get(self, name: str) -> Tensor:
        """Return a stacked parameter or buffer (T, *shape)."""

    def draw(self, like: Tensor, rates: Sequence[float]) -> Tensor:
        """Draw dropout's noise (R, L, B, ...) for a layer with these rates (T,)."""


def is_activation(module: nn.Module) -> bool:
    """Return whether a module is an activation that another trial may replace by another one."""
    return type(module) in ELEMENTWISE or (type(module) is nn.PReLU and module.num_parameters == 1)


def install_layers(template: nn.Module, models: Sequence[nn.Module], stack: Stack) -> None:
    """Replace the forward of every known layer of the template by one that processes all trials at once.

    Args:
        template: the module whose steps run under vmap; it has every layer that any of the models has.
        models: (T,).
        stack: their parameters and buffers.
    """
    known: dict[int, Layer] = {}
    names = {id(module): name for name, module in template.named_modules()}
    for name, module in reversed(list(template.named_modules())):
        if type(module) is nn.Sequential:
            layer = _sequence(module, names, stack, known)
        else:
            layer = _make_layer(name, module, models, stack)
        if layer is not None:
            known[id(module)] = layer
            module.__dict__["forward"] = _Forward(module, layer, stack)


def _make_layer(name: str, module: nn.Module, models: Sequence[nn.Module], stack: Stack) -> Layer | None:
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
    """Forward of a known layer, or of a sequence of them."""

    def __init__(self, module: nn.Module, layer: Layer, stack: Stack) -> None:
        self._module, self._layer, self._stack = module, layer, stack

    def __call__(self, x: Tensor) -> Tensor:
        if self._stack.trial_marker is None or x.dim() not in _DIMS.get(type(self._module), range(2, 9)):
            return type(self._module).forward(self._module, x)  # type: ignore[no-any-return]
        y: Tensor = _OutsideVmap.apply(x, self._stack.trial_marker, self._layer, None)
        return y


class _OutsideVmap(torch.autograd.Function):
    """Function that leaves vmap over columns, then over rows, runs a layer there, and enters vmap again.

    Inside the method `vmap`, ordinary differentiable operations run on ordinary tensors: autograd sees these, not this
    function.
    """

    @staticmethod
    def forward(x: Tensor, trial_marker: Tensor, layer: Layer, is_shared: bool | None) -> Tensor:
        raise RuntimeError("layers of fused trials run under vmap only")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, x: Tensor, trial_marker: Tensor, layer: Layer, is_shared: bool | None
    ) -> tuple[Tensor, int | None]:
        x = x.unsqueeze(0) if in_dims[0] is None else x.movedim(in_dims[0], 0)
        if is_shared is None:  # over the columns
            y: Tensor = _OutsideVmap.apply(x, trial_marker, layer, in_dims[0] is None)
            return (y[0], None) if len(y) < info.batch_size else (y, 0)
        return layer(x.expand(info.batch_size, *x.shape[1:])), 0  # over the rows


def _is_altered(module: nn.Module) -> bool:
    """Return whether a call of a module does something else than its class defines."""
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
            if stack.output_hook is not None:
                x = stack.output_hook(name, x)
        return x if stack.output_hook is None else x.clone()  # so that nothing overwrites what the hook got

    return run


def capture_output(stack: Stack, name: str, x: Tensor) -> Tensor:
    """Pass a module's output (B, ...), under vmap, to the output hook of the stack, and return it."""
    hook = stack.output_hook
    assert hook is not None
    y: Tensor = _OutsideVmap.apply(x, stack.trial_marker, lambda output: hook(name, output).clone(), None)
    return y


def _flatten(module: nn.Module) -> Layer:
    start, end = int(module.start_dim), int(module.end_dim)  # type: ignore[arg-type]
    return lambda x: x.flatten(start + 2, end if end < 0 else end + 2)


def _dropout(name: str, module: nn.Module, models: Sequence[nn.Module], stack: Stack) -> Layer:
    rates, original = [_find_rate(model, name) for model in models], module.p

    def run(x: Tensor) -> Tensor:
        if module.p != original:
            raise NotFusable(f"a step changes the rate of {name}")
        return x * stack.draw(x, rates) if module.training else x

    return run


def _linear(name: str, module: nn.Module, stack: Stack) -> Layer:
    has_bias = module.bias is not None

    def run(x: Tensor) -> Tensor:
        rows, columns = stack.shape
        weight = stack.get(f"{name}.weight")
        num_out, num_in = weight.shape[1:]
        num = rows if x.shape[1] == 1 else rows * columns  # products; trials that share their input share one
        inputs, weight = x.reshape(num, -1, num_in), weight.view(num, -1, num_in)
        bias = stack.get(f"{name}.bias").view(num, -1, 1) if has_bias else None
        if num_out <= _MAX_ROW_MAJOR and num == rows * columns:  # such as logits: softmax is over the dense axis
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
    return lambda ids: look_up(stack.get(f"{name}.weight"), ids, stack.shape, layer.padding_idx)


def _batch_norm(name: str, module: nn.Module, stack: Stack) -> Layer | None:
    layer: Any = module
    if not layer.track_running_stats or layer.momentum is None:
        return None
    affine = [f"{name}.weight", f"{name}.bias"] if layer.affine else [None, None]
    names = [f"{name}.running_mean", f"{name}.running_var", *affine]

    def run(x: Tensor) -> Tensor:
        x = x.expand(*stack.shape, *x.shape[2:])
        if layer.training:
            stack.get(f"{name}.num_batches_tracked").add_(1)
        mean, variance, weight, bias = (None if each is None else stack.get(each).flatten() for each in names)  # views
        out = functional.batch_norm(
            _channels_of_all(x), mean, variance, weight, bias, layer.training, layer.momentum, layer.eps
        )
        return _channels_of_each(out, x.shape)

    return run


def _channels_of_all(x: Tensor) -> Tensor:
    """Merge the channels of all trials: (R, L, B, C) -> (1, T*C, B), (R, L, B, C, ...) -> (B, T*C, ...), as views."""
    if x.dim() == 4:  # noqa: PLR2004
        return x.transpose(2, 3).reshape(1, -1, x.shape[2])
    return x.movedim(2, 0).reshape(x.shape[2], -1, *x.shape[4:])


def _channels_of_each(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Split merged channels again, to (R, L, B, ...); channels, height and width may have changed."""
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
            stack.get(f"{name}.weight").flatten(0, 1),
            None if layer.bias is None else stack.get(f"{name}.bias").flatten(),
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
    """Return height and width of a max pooling whose windows do not overlap; None for any other."""
    layer: Any = module
    pair = torch.nn.modules.utils._pair  # noqa: SLF001 -- how torch reads one number for two
    if type(module) is not nn.MaxPool2d or pair(layer.kernel_size) != pair(layer.stride):
        return None
    is_plain = pair(layer.padding) == (0, 0) and pair(layer.dilation) == (1, 1) and not layer.return_indices
    return pair(layer.kernel_size) if is_plain and not layer.ceil_mode else None


def _largest_of_tiles(x: Tensor, height: int, width: int) -> Tensor:
    """Compute max pooling without the indices of the maxima, which only backward needs: 0.7 ms, not 5, on a CPU."""
    rows, columns = x.shape[-2] // height * height, x.shape[-1] // width * width
    tiles = [x[..., i:rows:height, j:columns:width] for i in range(height) for j in range(width)]
    return functools.reduce(torch.maximum, tiles)


def _activation(name: str, models: Sequence[nn.Module], stack: Stack) -> Layer:
    """Apply each activation to its run of neighbouring columns, or rows if a row is one trial."""
    rows, columns = stack.shape
    axis, num = (1, columns) if columns > 1 else (0, rows)
    runs: list[tuple[int, int, Callable[[Tensor, Tensor | None], Tensor]]] = []
    last = ""
    for index, model in enumerate(models[:num]):
        module = model.get_submodule(name)
        if repr(module) == last:
            runs[-1] = (runs[-1][0], index + 1, runs[-1][2])
        else:
            runs.append((index, index + 1, _make_activation(module)))
        last = repr(module)
    has_slopes = any(type(model.get_submodule(name)) is nn.PReLU for model in models[:num])

    def run(x: Tensor) -> Tensor:
        if len(runs) == 1 and not has_slopes:
            return runs[0][2](x, None)
        slopes = stack.get(f"{name}.weight").view(stack.shape) if has_slopes else None
        x = x.expand(*stack.shape, *x.shape[2:])
        order = sorted(range(2, x.dim()), key=x.stride, reverse=True)  # keep the order in memory
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


def _make_activation(module: nn.Module) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Return a function of values (r, l, B, ...) and slopes (r, l); only PReLU uses the slopes."""
    if isinstance(module, nn.PReLU):
        return _prelu
    activation: Any = type(module).__new__(type(module))  # the template's forward is replaced
    activation.__dict__.update({key: value for key, value in module.__dict__.items() if key != "forward"})
    if hasattr(activation, "inplace"):
        activation.inplace = False
    return lambda x, _: activation(x)


def _prelu(x: Tensor, slopes: Tensor | None) -> Tensor:
    assert slopes is not None
    return torch.where(x > 0, x, slopes.view(*slopes.shape, *[1] * (x.dim() - 2)) * x)


def _find_rate(model: nn.Module, name: str) -> float:
    """Return the rate of a dropout layer; 0 for a model without it."""
    try:
        return float(model.get_submodule(name).p)  # type: ignore[arg-type]
    except AttributeError:
        return 0.0

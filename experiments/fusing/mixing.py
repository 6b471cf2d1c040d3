"""Activations that differ between trials, applied slice by slice.

Layers without parameters that work element by element, such as ReLU and sigmoid, may differ between the trials of a
group: where they do, each run of neighbouring trials with the same layer gets its own, and the results are joined.
"""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

ELEMENTWISE = (
    *(nn.Identity, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.SELU, nn.Softplus),
    *(nn.Mish, nn.Hardtanh, nn.ReLU6, nn.Hardswish, nn.LogSigmoid, nn.Softsign),
)


def mix_activations(template: LightningModule, models: Sequence[LightningModule]) -> None:
    """Make the elementwise layers of the template do, for each trial, what that trial's own layer does."""
    for name, layer in template.named_modules():
        if type(layer) in ELEMENTWISE:
            own = [model.get_submodule(name) for model in models]
            if len({repr(module) for module in own}) > 1:
                layer.__dict__["forward"] = _Forward(_runs(own))


def _runs(layers: Sequence[nn.Module]) -> list[tuple[slice, nn.Module]]:
    """Neighbouring trials with equal layers, as slices."""
    runs: list[tuple[slice, nn.Module]] = []
    for place, layer in enumerate(layers):
        if runs and repr(runs[-1][1]) == repr(layer):
            runs[-1] = (slice(runs[-1][0].start, place + 1), runs[-1][1])
        else:
            runs.append((slice(place, place + 1), _copy(layer)))
    return runs


def _copy(layer: nn.Module) -> nn.Module:
    """A layer of its own, since the template's has its forward replaced."""
    copy = type(layer).__new__(type(layer))
    copy.__dict__.update({name: value for name, value in layer.__dict__.items() if name != "forward"})
    return copy


class _Forward:
    """What a mixed layer does instead of its own forward."""

    def __init__(self, runs: list[tuple[slice, nn.Module]]) -> None:
        self._runs = runs

    def __call__(self, x: Tensor) -> Tensor:
        mixed: Tensor = _Mixed.apply(x, self._runs)
        return mixed


class _Mixed(torch.autograd.Function):
    """Physical only in `vmap`, where ordinary differentiable operations do the work."""

    @staticmethod
    def forward(x: Tensor, runs: list[tuple[slice, nn.Module]]) -> Tensor:
        raise RuntimeError("mixed layers run under vmap only")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, runs: list[tuple[slice, nn.Module]]) -> tuple[Tensor, int]:
        x = x.movedim(in_dims[0], 0)
        return torch.cat([layer(x[part]) for part, layer in runs]), 0

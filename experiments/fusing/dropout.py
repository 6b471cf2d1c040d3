"""Dropout under vmap with the very masks that each trial would draw alone.

Under vmap, torch draws one mask tensor for all trials, so a trial's masks would depend on which others share its group.
Here the noise of trial t comes from a generator of its own, in the state that its stream has when it is trained alone,
through the same call (bernoulli_ on a tensor of the same shape), so on a CPU the masks are the same bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn


class TrialDropout:
    """Replaces the dropout of a template for T trials.

    Arguments:
        template: the module that is run under vmap; its nn.Dropout layers get this noise.
        rates: name of a dropout layer -> its rate in each trial (T,).
    """

    def __init__(self, template: LightningModule, rates: Mapping[str, Sequence[float]]) -> None:
        self.generators: list[torch.Generator] = []
        for name, of_trials in rates.items():
            layer = template.get_submodule(name)
            layer.__dict__["forward"] = _Forward(layer, tuple(of_trials), self)

    def restart(self, seeds: Sequence[int], device: torch.device) -> None:
        """Give each trial's generator its seed for the epoch that begins."""
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]


class _Forward:
    """What a dropout layer does instead of its own forward."""

    def __init__(self, layer: nn.Module, rates: tuple[float, ...], owner: TrialDropout) -> None:
        self._layer, self._rates, self._owner = layer, rates, owner

    def __call__(self, x: Tensor) -> Tensor:
        if not self._layer.training:
            return x
        noise: Tensor = _Noise.apply(x, self._rates, self._owner)
        return x * noise


class _Noise(torch.autograd.Function):
    """0 with probability p, else 1 / (1 - p), of the shape of x; x is physical only in `vmap`."""

    @staticmethod
    def forward(x: Tensor, rates: tuple[float, ...], owner: TrialDropout) -> Tensor:
        raise RuntimeError("the dropout of fused trials runs under vmap only")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, rates: tuple[float, ...], owner: TrialDropout) -> tuple[Tensor, int]:
        like = x.detach().movedim(in_dims[0], 0)
        noise = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        for place, (rate, generator) in enumerate(zip(rates, owner.generators, strict=True)):
            noise[place].bernoulli_(1 - rate, generator=generator).div_(1 - rate)
        return noise, 0

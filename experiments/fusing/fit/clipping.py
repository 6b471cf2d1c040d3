"""Clipping of gradients, as the Trainer's gradient_clip_val and gradient_clip_algorithm set it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipping:
    """Algorithm of clipping and its bound; without a value nothing is clipped.

    norm: the total norm is scaled to at most `value` (Pascanu et al. 2013; torch.nn.utils.clip_grad_norm_).
    value: each element is clamped to [-value, value].
    """

    value: float | None
    algorithm: str = "norm"

    def clip_fused(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients of each trial by its own norm. parameters: (T, *shape) each.

        Gradients are replaced and not changed in place: two may share memory, as those of two biases that are only
        ever added do, and would be scaled twice.
        """
        if not self.value:
            return
        reached = [parameter for parameter in parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in reached if parameter.grad is not None]
        if self.algorithm == "value":
            clipped = [gradient.clamp(-self.value, self.value) for gradient in gradients]
        else:
            norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
            scales = (self.value / (norms + 1e-6)).clamp(max=1.0)
            clipped = [gradient * scales.view(-1, *[1] * (gradient.dim() - 1)) for gradient in gradients]
        for parameter, gradient in zip(reached, clipped, strict=True):
            parameter.grad = gradient

    def clip_unfused(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients of one trial."""
        if self.value and self.algorithm == "value":
            nn.utils.clip_grad_value_(parameters, self.value)
        elif self.value:
            nn.utils.clip_grad_norm_(parameters, self.value)

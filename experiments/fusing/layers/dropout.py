"""Noise of dropout, with the same draws for each trial as in unfused training.

If one tensor of noise were drawn for all trials, a trial's masks would depend on the other trials of its group. So each
trial has its own generator, in the state that its stream has in unfused training, and the same call draws from it
(bernoulli_ on a tensor of the same shape). On a CPU the masks are the same bits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class TrialNoise:
    """Generators of T trials."""

    def __init__(self) -> None:
        self._generators: list[torch.Generator] = []

    def restart(self, seeds: Sequence[int], device: torch.device) -> None:
        """Seed the generators for an epoch. seeds: (T,)."""
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def draw(self, like: Tensor, rates: Sequence[float]) -> Tensor:
        """Draw 0 with the probability of a trial's rate, else 1 / (1 - rate). like: (T, *shape); rates: (T,)."""
        noise = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        for index, (rate, generator) in enumerate(zip(rates, self._generators, strict=True)):
            if rate in {0.0, 1.0}:  # torch does not draw either
                noise[index].fill_(1 - rate)
            else:
                noise[index].bernoulli_(1 - rate, generator=generator).div_(1 - rate)
        return noise

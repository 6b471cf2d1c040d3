"""Dropout's noise, for each trial the very draws that it would make alone.

One tensor of noise drawn for all trials would make a trial's masks depend on which others share its group. Here the
noise of each comes from a generator of its own, in the state that its stream has when it is trained alone, through the
same call (bernoulli_ on a tensor of the same shape), so on a CPU the masks are the same bits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class TrialNoise:
    """The generators of T trials."""

    def __init__(self) -> None:
        self._generators: list[torch.Generator] = []

    def restart(self, seeds: Sequence[int], device: torch.device) -> None:
        """Give each trial's generator its seed for the epoch that begins."""
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def draw(self, like: Tensor, rates: Sequence[float]) -> Tensor:
        """0 with the probability of each trial's rate, else 1 / (1 - rate). (T, *shape) -> as like; rates: (T,)."""
        noise = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        for place, (rate, generator) in enumerate(zip(rates, self._generators, strict=True)):
            if rate in {0.0, 1.0}:  # torch does not draw either
                noise[place].fill_(1 - rate)
            else:
                noise[place].bernoulli_(1 - rate, generator=generator).div_(1 - rate)
        return noise

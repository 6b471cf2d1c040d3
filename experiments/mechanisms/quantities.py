"""Quantities of mechanisms: one number for each trial from a tensor of all trials.

T trials, B examples of the probe, N numbers. Sums are in double precision if the device has it: the squares of
vanishing gradients would be 0 in single.
"""

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.linalg import vector_norm

QUANTILES = {"q05": 0.05, "q50": 0.50, "q95": 0.95}

MAX_SORTED = 1024
"""Values of a layer in its quantiles; with these, the rank of a quantile is uncertain by 0.7 %."""

SATURATED = 0.05
"""Distance from a bound up to which an output is saturated, as a fraction of the range."""

BOUNDS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def rms(x: Tensor) -> Tensor:
    """Compute the root mean square of each trial's numbers. x: (T, ...) -> (T,).

    >>> rms(torch.tensor([[3.0, 4.0], [1e-30, 1e-30]]))
    tensor([3.5355e+00, 1.0000e-30], dtype=torch.float64)
    """
    return norm(x) / math.sqrt(max(x[0].numel(), 1))


def norm(x: Tensor) -> Tensor:
    """Compute the Euclidean norm of each trial's numbers. x: (T, ...) -> (T,)."""
    wide = x.detach().to(_wide(x))  # `vector_norm(dtype=...)` would take three times as long
    norms: Tensor = vector_norm(wide, dim=tuple(range(1, x.dim())))
    return norms


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and standard deviation over all numbers of each trial. x: (T, ...) -> (T,) and (T,).

    >>> mean, deviation = moments(torch.tensor([[1.0, 3.0]]))
    >>> float(mean), float(deviation)
    (2.0, 1.0)
    """
    flat = x.flatten(1)
    mean = flat.mean(1)
    return mean.to(_wide(x)), rms(flat - mean.unsqueeze(1))


def quantiles(x: Tensor) -> Tensor:
    """Compute the 5th, 50th and 95th percentile of each trial's numbers by nearest rank. x: (T, ...) -> (3, T).

    Of more than `MAX_SORTED` numbers, that many are used, spread over examples and units, the same in each epoch.

    >>> quantiles(torch.arange(101.0).unsqueeze(0)).flatten()
    tensor([ 5., 50., 95.], dtype=torch.float64)
    """
    flat = x.flatten(1)
    if flat.shape[1] > MAX_SORTED:
        flat = flat.index_select(1, _spread(flat.shape[1]).to(flat.device))
    ranks = [round(share * (flat.shape[1] - 1)) for share in QUANTILES.values()]
    return _sorted(flat)[:, ranks].t().to(_wide(x))


def saturated(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Compute the share of outputs within 5 % of the range from a bound (Glorot & Bengio 2010). x: (T, ...) -> (T,).

    >>> saturated(torch.tensor([[0.01, 0.04, 0.5, 0.96]]), BOUNDS["sigmoid"])
    tensor([0.7500], dtype=torch.float64)
    """
    low, high = bounds
    middle, reach = (low + high) / 2, (0.5 - SATURATED) * (high - low)
    return torch.count_nonzero((x.flatten(1) - middle).abs() > reach, dim=1).to(_wide(x)) / max(x[0].numel(), 1)


def dead(x: Tensor, unit_dim: int) -> Tensor:
    """Compute the share of units whose output is 0 on every example and at every position (Lu et al. 2020).

    Args:
        x: (T, B, ...).
        unit_dim: the axis of units.

    >>> dead(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), unit_dim=2)
    tensor([0.5000], dtype=torch.float64)
    """
    others = tuple(dim for dim in range(1, x.dim()) if dim != unit_dim % x.dim())
    return (x.abs().amax(others) == 0).to(_wide(x)).mean(1)


def _sorted(x: Tensor) -> Tensor:
    """Sort along axis 1, NaN last; on a CPU with numpy, in a fifth of torch's time."""
    return torch.from_numpy(np.sort(x.numpy(), axis=1)) if x.device.type == "cpu" else x.sort(1).values


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64


@functools.lru_cache(maxsize=64)
def _spread(number: int) -> Tensor:
    """Return `MAX_SORTED` of so many indices, in steps of the golden ratio (Weyl), evenly over units and examples."""
    step = round(number * (math.sqrt(5) - 1) / 2)
    while math.gcd(step, number) > 1:
        step += 1
    return torch.arange(MAX_SORTED) * step % number

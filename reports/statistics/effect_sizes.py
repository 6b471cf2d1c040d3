"""Statistics of paired values beyond the paired t test: correlation, wins, effect size, resampling tests."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .paired import subtract_pairs
from .rates import wilson_interval
from .resampling import bootstrap_t_interval, sign_flip_test


@dataclass(frozen=True, slots=True, kw_only=True)
class PairStatistics:
    """Statistics of pairs (level, reference); NaN where undefined.

    correlation: Pearson correlation of level and reference over seeds; near 1, pairing removes most of the noise.
    num_higher, num_lower, num_equal: pairs in which the level has the higher, the lower or the same value.
    hedges_g: see `hedges_g_av`.
    sign_flip_p, sign_flip_floor, bootstrap_low, bootstrap_high: see resampling.py; NaN for folds, which are dependent.
    """

    correlation: float
    num_higher: int
    num_lower: int
    num_equal: int
    hedges_g: float
    sign_flip_p: float
    sign_flip_floor: float
    bootstrap_low: float
    bootstrap_high: float


def pair_statistics(level: ArrayLike, reference: ArrayLike, overlap: float = 0.0) -> PairStatistics:
    """Compute the statistics of level (n,) and reference (n,); `overlap` is positive if the pairs are folds."""
    one, other = np.asarray(level, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    differences = subtract_pairs(one, other)
    flipped = None if overlap or len(one) < 2 else sign_flip_test(differences)  # noqa: PLR2004 -- one pair is no test
    low, high = (math.nan, math.nan) if overlap else bootstrap_t_interval(differences)
    return PairStatistics(
        correlation=correlation(one, other),
        num_higher=int(np.count_nonzero(differences > 0)),
        num_lower=int(np.count_nonzero(differences < 0)),
        num_equal=int(np.count_nonzero(differences == 0)),
        hedges_g=hedges_g_av(one, other),
        sign_flip_p=math.nan if flipped is None else flipped.p_value,
        sign_flip_floor=math.nan if flipped is None else flipped.floor,
        bootstrap_low=low,
        bootstrap_high=high,
    )


def hedges_g_av(level: ArrayLike, reference: ArrayLike) -> float:
    """Return Hedges' g_av: the mean difference over the root mean variance of both sides, corrected for small n.

    g_av is d_av (Cumming 2012, "Understanding the New Statistics", chapter 11; Lakens 2013, Frontiers in Psychology 4:
    863) times Hedges' correction 1 - 3 / (4 (n + n) - 9). Unlike d_z, it does not grow with the correlation of the
    pairs. NaN for fewer than two pairs and if no value varies.

    >>> round(hedges_g_av([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]), 4)
    1.0119
    """
    one, other = np.asarray(level, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    n = len(one)
    if n < 2:  # noqa: PLR2004 -- a spread needs two pairs
        return math.nan
    scale = max(float(np.abs(one).max()), float(np.abs(other).max()))
    if scale == 0:
        return math.nan
    one, other = one / scale, other / scale  # no square over- or underflows
    sd = math.sqrt((float(one.var(ddof=1)) + float(other.var(ddof=1))) / 2)
    if sd <= 1e-15:  # noqa: PLR2004 -- rounding
        return math.nan
    return float(one.mean() - other.mean()) / sd * (1 - 3 / (8 * n - 9))


def correlation(level: ArrayLike, reference: ArrayLike) -> float:
    """Return the Pearson correlation; NaN for fewer than three pairs (two lie on a line) or if a side is constant.

    >>> round(correlation([1.0, 2.0, 4.0], [2.0, 4.0, 8.0]), 9)
    1.0
    """
    one, other = np.asarray(level, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if len(one) < 3 or min(np.ptp(one), np.ptp(other)) == 0:  # noqa: PLR2004
        return math.nan
    one, other = (values / np.abs(values).max() for values in (one, other))
    one, other = one - one.mean(), other - other.mean()
    norm = math.sqrt(float(one @ one)) * math.sqrt(float(other @ other))
    return float(np.clip(one @ other / norm, -1, 1)) if norm > 0 else math.nan


def probability_of_superiority(num_wins: int, num_losses: int, num_ties: int) -> tuple[float, float, float]:
    """Return the share of pairs that the level wins, ties counting half, and its Wilson interval; NaN without pairs.

    >>> [round(number, 3) for number in probability_of_superiority(5, 0, 0)]
    [1.0, 0.566, 1.0]
    """
    n = num_wins + num_losses + num_ties
    low, high = wilson_interval(num_wins + num_ties / 2, n)
    return (num_wins + num_ties / 2) / n if n else math.nan, low, high

"""Power of the paired t test and of TOST: minimum detectable effects and sample sizes, exact and without simulation.

Effects are in units of SD, the standard deviation of a paired difference. With J pairs, the mean of the differences has
the standard error SD * sqrt(1/J + overlap), so the test statistic of a true difference d (in SD) follows a noncentral t
distribution with J - 1 degrees of freedom and noncentrality d / sqrt(1/J + overlap). `overlap` is 0 for seeds and
1 / (K - 1) for folds, see `paired.py`. For folds, repeating the cross-validation cannot reduce the standard error below
SD * sqrt(overlap).

statsmodels' `TTestPower.solve_power` is not used: for 4 pairs at alpha 0.005 it returns 3.42, whose true power is 0.53,
instead of 4.71 (versions 0.14 and 0.15, no warning). `scipy.special.nctdtr` is NaN at 1 degree of freedom.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

POWER = 0.8
MAX_PAIRS = 1_000_000  # if this many are not enough, the number of pairs is infinite
_TOST_ALPHA = 0.05  # of each of the two one-sided tests, as in `statistics.equivalence`
_NUM_NODES = 400  # of a Gauss-Legendre rule
_CUTOFF = 12.0  # standard deviations beyond which densities are neglected
_FEW = 30  # degrees of freedom up to which `power_of_difference` integrates over |mean| / SE


def power_of_difference(num_pairs: int, difference: float, alpha: float = 0.05, overlap: float = 0.0) -> float:
    """Return the power of the two-sided paired t test at a true difference (in SD); NaN for fewer than two pairs.

    >>> round(power_of_difference(5, 1.0), 2)  # three of five such studies miss a difference of one SD
    0.4
    """
    if num_pairs < 2:  # noqa: PLR2004 -- a standard deviation needs two pairs
        return math.nan
    from scipy.special import chdtr, ndtr, stdtrit

    freedom = num_pairs - 1
    critical = float(stdtrit(freedom, 1 - alpha / 2))
    shift = abs(difference) / math.sqrt(1 / num_pairs + overlap)
    if freedom > _FEW:
        u, weights = _sd_quadrature(freedom)
        return float(weights @ (ndtr(shift - critical * u) + ndtr(-shift - critical * u)))
    # With few pairs, the critical value is large and that integrand nearly a step; over w = |mean| / SE it is smooth.
    nodes, weights = _legendre()
    low, high = max(0.0, shift - _CUTOFF), shift + _CUTOFF
    w = low + (high - low) * (nodes + 1) / 2
    density = (np.exp(-((w - shift) ** 2) / 2) + np.exp(-((w + shift) ** 2) / 2)) / math.sqrt(2 * math.pi)
    return float((high - low) / 2 * (weights * density) @ chdtr(freedom, freedom * (w / critical) ** 2))


@cache
def minimum_detectable_effect(num_pairs: int, alpha: float = 0.05, power: float = POWER, overlap: float = 0.0) -> float:
    """Return the true difference (in SD) that is detected with this power; NaN for fewer than two pairs.

    Args:
        num_pairs: number of seeds or folds.
        alpha: level of the two-sided test; for a family of m tests, the level over m.
        power: probability of detecting the difference.
        overlap: test over training examples of a fold.

    >>> [round(minimum_detectable_effect(n), 2) for n in (3, 5, 10)]
    [3.26, 1.68, 1.0]
    """
    if num_pairs < 2:  # noqa: PLR2004 -- a standard deviation needs two pairs
        return math.nan
    return _find_smallest(lambda difference: power_of_difference(num_pairs, difference, alpha, overlap) >= power)


@cache
def minimum_equivalence_margin(num_pairs: int, power: float = POWER, overlap: float = 0.0) -> float:
    """Return the margin (in SD) for which TOST shows equivalence with this power at a true difference of 0.

    NaN for fewer than two pairs.

    >>> [round(minimum_equivalence_margin(n), 2) for n in (4, 11, 36)]
    [1.94, 0.95, 0.5]
    """
    if num_pairs < 2:  # noqa: PLR2004 -- a standard deviation needs two pairs
        return math.nan
    return _find_smallest(lambda margin: power_of_equivalence(num_pairs, margin, overlap) >= power)


def power_of_equivalence(num_pairs: int, margin: float, overlap: float = 0.0) -> float:
    """Return the power of TOST with this margin (in SD) at a true difference of 0; NaN for fewer than two pairs.

    TOST holds if |mean| < margin - t SE. With u = s / sigma, where (J - 1) u^2 has a chi-square distribution with J - 1
    degrees of freedom, the power is E[max(0, 2 Phi(margin / SE - t u) - 1)], integrated over u.

    >>> round(power_of_equivalence(11, 1.0), 2)
    0.85
    """
    if num_pairs < 2:  # noqa: PLR2004 -- a standard deviation needs two pairs
        return math.nan
    from scipy.special import ndtr, stdtrit

    critical = float(stdtrit(num_pairs - 1, 1 - _TOST_ALPHA))
    reach = margin / math.sqrt(1 / num_pairs + overlap)
    u, weights = _sd_quadrature(num_pairs - 1, at_most=reach / critical)
    return float(weights @ (2 * ndtr(reach - critical * u) - 1))


def num_pairs_for_difference(
    difference: float, alpha: float = 0.05, power: float = POWER, overlap: float = 0.0
) -> float:
    """Return how many pairs detect a true difference (in SD) with this power; infinity if no number does.

    >>> [num_pairs_for_difference(d) for d in (0.5, 0.8, 1.0, 1.5, 2.0)]
    [34, 15, 10, 6, 5]
    """
    return _find_fewest(lambda n: minimum_detectable_effect(n, alpha, power, overlap) <= abs(difference))


def num_pairs_for_equivalence(margin: float, power: float = POWER, overlap: float = 0.0) -> float:
    """Return how many pairs let TOST show equivalence with this power at a true difference of 0; or infinity.

    >>> [num_pairs_for_equivalence(margin) for margin in (2.0, 1.5, 1.0, 0.5)]
    [4, 6, 11, 36]
    """
    return _find_fewest(lambda n: minimum_equivalence_margin(n, power, overlap) <= margin)


def _find_smallest(is_enough: Callable[[float], bool]) -> float:
    """Find the smallest positive number that is enough, to seven digits, by bisection."""
    high = 1.0
    while not is_enough(high):
        high *= 2
    low = 0.0
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _find_fewest(is_enough: Callable[[int], bool]) -> float:
    """Find the smallest number of pairs, at least 2, that is enough, by bisection."""
    high = 2
    while not is_enough(high):
        if high >= MAX_PAIRS:
            return math.inf
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _sd_quadrature(freedom: int, at_most: float = math.inf) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of a quadrature over u = s / sigma up to `at_most`, weighted with the density of u."""
    from scipy.special import gammaln

    width = _CUTOFF / math.sqrt(2 * freedom)  # the standard deviation of u is about 1 / sqrt(2 freedom)
    low, high = max(0.0, 1 - width), min(1 + width, at_most)
    if high <= low:
        return np.zeros(0), np.zeros(0)
    nodes, weights = _legendre()
    u = low + (high - low) * (nodes + 1) / 2
    constant = math.log(2) + freedom / 2 * math.log(freedom / 2) - float(gammaln(freedom / 2))
    density = np.exp(constant + (freedom - 1) * np.log(u) - freedom * u**2 / 2)
    return u, (high - low) / 2 * weights * density


@cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(_NUM_NODES)

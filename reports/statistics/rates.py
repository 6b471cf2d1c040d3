"""Confidence intervals of rates, such as the rate of diverged trials."""

import math

from .paired import CONFIDENCE


def wilson_interval(count: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's score interval of the rate count / n (Wilson 1927, JASA 22: 209-212); NaN for n = 0.

    It stays within [0, 1] and has a positive width even at a rate of 0 or 1.

    >>> [round(end, 4) for end in wilson_interval(0, 5)]
    [0.0, 0.4345]

    Raises:
        ValueError: if the count is not between 0 and n.
    """
    if not 0 <= count <= n:
        raise ValueError(f"a count lies between 0 and n; found {count} of {n}")
    if n == 0:
        return math.nan, math.nan
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    rate = count / n
    middle = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    low = 0.0 if count == 0 else max(0.0, middle - half)
    high = 1.0 if count == n else min(1.0, middle + half)
    return low, high

"""Tests and intervals from the differences themselves, by flipping signs and by resampling. Seeded, so repeatable.

They stand beside the t test and never in its place: five seeds cannot bring a sign-flip p below 0.0625, and bootstrap
intervals of few seeds are too narrow (see `paired.py`). Both take differences as independent, so neither is made of
folds.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .paired import CONFIDENCE

SEED = 0  # of every resampling in a report: the same ledger gives the same report
MAX_EXACT = 2**14  # sign patterns that are all gone through
NUM_FLIPS = 20_000  # drawn where there are more patterns, the observed one among them
NUM_RESAMPLES = 9_999
MIN_FOR_BOOTSTRAP = 10
_ROUNDING = 1e-12  # relative: sums in another order of addition


@dataclass(frozen=True, slots=True, kw_only=True)
class SignFlipTest:
    """The sign-flip test that differences are symmetric about 0. NaN without differences.

    p_value: the share of sign patterns whose sum is at least as far from 0 as the observed one; two-sided.
    floor: the smallest p that these many differences can give: 2^(1-n), or 1 / NUM_FLIPS where patterns are drawn.
    """

    p_value: float
    floor: float


def sign_flip_test(differences: ArrayLike, seed: int = SEED) -> SignFlipTest:
    """All 2^n patterns up to 2^14, else NUM_FLIPS of them, drawn (Phipson & Smyth 2010: the observed one counts).

    >>> sign_flip_test([0.1, 0.2, 0.3, 0.4, 0.5])
    SignFlip(p_value=0.0625, floor=0.0625)
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n == 0:
        return SignFlipTest(p_value=math.nan, floor=math.nan)
    if 2**n <= MAX_EXACT:
        sums = values[:1]  # the first sign may stay: a pattern and its mirror image are as far from 0
        for value in values[1:]:
            sums = np.concatenate([sums + value, sums - value])
        floor = 2.0 ** (1 - n)
    else:
        sums = np.concatenate([[values.sum()], _signs(n, seed) @ values])
        floor = 1 / NUM_FLIPS
    enough = abs(float(values.sum())) - _ROUNDING * float(np.abs(values).sum())
    return SignFlipTest(p_value=float(np.mean(np.abs(sums) >= enough)), floor=floor)


def bootstrap_t_interval(
    differences: ArrayLike, confidence: float = CONFIDENCE, seed: int = SEED
) -> tuple[float, float]:
    """The bootstrap-t interval of the mean (Efron & Tibshirani 1993, chapter 12.5).

    Of the bootstrap intervals it alone covers the mean of small samples (Owen 2025, arXiv 2508.10083), at the price of
    an end that may be infinite. NaN below 10 differences, where they do not differ, and where an end is infinite.

    >>> bootstrap_t_interval([0.1, 0.2, 0.3])
    (nan, nan)
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n < MIN_FOR_BOOTSTRAP or not np.ptp(values) > 0:
        return math.nan, math.nan
    mean = float(values.mean())
    scale = float(np.abs(values - mean).max())
    centred = (values - mean) / scale
    counts = _counts(n, seed)
    means = counts @ centred / n
    variances = np.maximum(counts @ centred**2 / n - means**2, 0.0) * n / (n - 1)
    variances[variances < _ROUNDING] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = np.nan_to_num(means / np.sqrt(variances / n), nan=0.0, posinf=np.inf, neginf=-np.inf)
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistics, [tail, 1 - tail], method="inverted_cdf")
    if not np.isfinite([low, high]).all():
        return math.nan, math.nan
    standard_error = scale * float(centred.std(ddof=1)) / math.sqrt(n)
    return mean - float(high) * standard_error, mean - float(low) * standard_error


@lru_cache(maxsize=4)
def _signs(n: int, seed: int) -> NDArray[np.float64]:
    """(NUM_FLIPS - 1, n) of -1 and 1."""
    return (np.random.default_rng(seed).integers(0, 2, size=(NUM_FLIPS - 1, n)) * 2 - 1).astype(np.float64)


@lru_cache(maxsize=4)
def _counts(n: int, seed: int) -> NDArray[np.float64]:
    """(NUM_RESAMPLES, n), how often each difference is in each resample."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=NUM_RESAMPLES).astype(np.float64)

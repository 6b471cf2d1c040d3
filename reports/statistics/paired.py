"""The statistics of a report: pure functions from numpy arrays to frozen results. scipy comes in late.

What is compared is always the difference within a seed. Its interval is the paired t interval: with 3 to 10 seeds,
bootstrap intervals of 95 % cover the mean far less often (1,500 simulated normal samples: percentile 75 to 90 %, BCa 72
to 90 %, t 95 %).

Two cases have no spread to estimate, and are settled here once:
- fewer than two values: every number but n (and the mean of one value) is NaN;
- all differences equal, up to rounding: where they are 0, the interval is [0, 0] and p is 1; else there is neither
  interval nor p, since two seeds that agree by chance (accuracies on a small test split often do) would otherwise
  look like certainty. `PairedDifference.is_constant` marks them, and the report says it.

Folds of a cross-validation share training examples, so that their values are correlated, and the variance of their mean
is more than sd^2 / n. `overlap`, the number of test examples over that of training examples (1 / (K - 1) for K folds, 0
for independent values), makes it sd^2 (1/n + overlap), with n - 1 degrees of freedom: the corrected resampled t of
Nadeau & Bengio (2003, Machine Learning 52: 239-281, "Inference for the generalization error"), over all folds where the
cross-validation is repeated (Bouckaert & Frank 2004, PAKDD: 3-12). It is an approximation, on the safe side in most
measurements; an unbiased estimator of that variance does not exist (Bengio & Grandvalet 2004, JMLR 5: 1089-1105).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
_SINGLE = float(np.finfo(np.float32).eps)  # relative: metrics are logged in single precision
_ROUNDING = 16 * float(np.finfo(np.float64).eps)  # relative: means over contexts add a few roundings to a difference


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanInterval:
    """A mean with its standard deviation (ddof = 1) and t interval; all NaN but `n` and `mean` where n = 1."""

    n: int
    mean: float
    sd: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """The mean of differences within pairs, and the paired t test that it is 0. All NaN but `n` where n < 2.

    Where all differences are equal and not 0, only n, mean and sd (0) are numbers.

    mean, sd: of the differences (ddof = 1). ci_low, ci_high: t interval of the mean. p_value: two-sided.
    d_z: mean / sd of the differences, the standardised effect size for paired data; it is larger than Cohen's d of the
        two groups when pairing helps, so it is always reported under this name.
    is_constant: all differences are equal up to rounding, so their spread cannot be estimated.
    overlap: test over training examples, where pairs are folds of a cross-validation; 0 where they are independent.
    """

    n: int
    mean: float = math.nan
    sd: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p_value: float = math.nan
    d_z: float = math.nan
    is_constant: bool = False
    overlap: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Two one-sided tests of a difference against a margin, each at 5 %: they hold when the 90 % interval is inside."""

    holds: bool
    ci_low: float
    ci_high: float


def fold_overlap(folds: int | None) -> float:
    """Test over training examples of a fold of K, 1 / (K - 1); 0 without folds, where seeds are independent."""
    return 0.0 if folds is None else 1 / (folds - 1)


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE, overlap: float = 0.0) -> MeanInterval:
    """The mean of values (n,), with a t interval. No value gives NaN, one value only a mean.

    Arguments:
        values: (n,).
        confidence: of the interval.
        overlap: test over training examples, where the values are of folds; see above.

    >>> result = mean_interval([1.0, 2.0, 3.0])
    >>> result.mean, result.sd, round(result.ci_low, 4), round(result.ci_high, 4)
    (2.0, 1.0, -0.4841, 4.4841)
    """
    array = _vector(values)
    n = len(array)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(array.mean()) if n else math.nan
    if n < 2:  # noqa: PLR2004 -- a spread needs two values
        return MeanInterval(n=n, mean=mean)
    sd = _spread(array)
    low, high = _t_interval(mean, sd, n, confidence, overlap)
    return MeanInterval(n=n, mean=mean, sd=sd, ci_low=low, ci_high=high)


def paired_difference(
    level: ArrayLike, reference: ArrayLike, confidence: float = CONFIDENCE, overlap: float = 0.0
) -> PairedDifference:
    """The differences level - reference, pair by pair.

    Differences that rounding alone explains (16 units in the last place of a pair's larger value) count as 0. Where all
    are one value but for the rounding of single precision, in which metrics are logged, there is no spread.

    Arguments:
        level: (n,), the values under the level.
        reference: (n,), the values under the reference, in the same order.
        confidence: of the interval.
        overlap: test over training examples, where pairs are folds; see above. `equivalence` then uses it too.

    Raises:
        ValueError: when the two are not vectors of one length.

    >>> result = paired_difference([0.92, 0.95, 0.93], [0.90, 0.91, 0.92])
    >>> round(result.mean, 4), round(result.p_value, 4), round(result.d_z, 4)
    (0.0233, 0.1181, 1.5275)
    >>> round(paired_difference([0.92, 0.95, 0.93], [0.90, 0.91, 0.92], overlap=1 / 2).p_value, 4)  # of three folds
    0.2362
    """
    one, other = _vector(level), _vector(reference)
    if one.shape != other.shape:
        raise ValueError(f"paired values have one length; found {len(one)} and {len(other)}")
    n = len(one)
    if n < 2:  # noqa: PLR2004 -- a spread needs two pairs
        return PairedDifference(n=n, overlap=overlap)
    with np.errstate(over="ignore", invalid="ignore"):
        differences = subtract_pairs(one, other)
        mean = float(differences.mean())
        blur = _SINGLE * np.maximum(np.abs(one), np.abs(other))
        is_one_value = bool((np.abs(differences - np.median(differences)) <= blur).all())
        sd = 0.0 if is_one_value else _spread(differences)
    is_constant = sd == 0
    low, high = _t_interval(mean, sd, n, confidence, overlap)
    if is_constant:
        p_value, d_z = (1.0, 0.0) if mean == 0 else (math.nan, math.nan)
    else:
        p_value, d_z = _two_sided_p(mean / sd / math.sqrt(1 / n + overlap), n - 1), mean / sd
    return PairedDifference(
        n=n,
        mean=mean,
        sd=sd,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        d_z=d_z,
        is_constant=is_constant,
        overlap=overlap,
    )


def subtract_pairs(level: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """The differences level - reference, (n,); what rounding alone explains is 0.

    >>> subtract_pairs([0.1 + 0.2, 1.0], [0.3, 0.5]).tolist()
    [0.0, 0.5]
    """
    one, other = _vector(level), _vector(reference)
    if not len(one):
        return one
    with np.errstate(over="ignore", invalid="ignore"):
        differences = one - other
        return np.where(np.abs(differences) <= _rounding(one, other), 0.0, differences)


def equivalence(difference: PairedDifference, margin: float) -> Equivalence:
    """Whether a difference is shown to be smaller than the margin: TOST by the 90 % t interval, strictly inside.

    >>> equivalence(paired_difference([0.901, 0.899, 0.900], [0.9, 0.9, 0.9]), margin=0.01).holds
    True
    """
    low, high = _t_interval(difference.mean, difference.sd, difference.n, 0.90, difference.overlap)
    return Equivalence(holds=-margin < low and high < margin, ci_low=low, ci_high=high)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's adjusted p values, (m,) for (m,): p_adjusted < alpha bounds the chance of any false finding.

    The k-th smallest of m is multiplied by m - k + 1, and none is smaller than one before it (Holm 1979). A NaN stays
    NaN and is not counted: nothing was tested there.

    >>> holm([0.01, float("nan"), 0.04]).tolist()
    [0.02, nan, 0.04]
    """
    array = _vector(p_values)
    adjusted = np.full_like(array, np.nan)
    tested = ~np.isnan(array)
    order = np.argsort(array[tested], kind="stable")
    steps = np.maximum.accumulate(np.arange(len(order), 0, -1) * array[tested][order])
    adjusted[np.flatnonzero(tested)[order]] = np.minimum(steps, 1)
    return adjusted


def _rounding(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart each pair may be by rounding alone, (n,): a huge value blurs its own pair only."""
    return _ROUNDING * np.maximum(np.abs(one), np.abs(other))


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"a vector is expected; found the shape {array.shape}")
    return array


def _spread(values: NDArray[np.float64]) -> float:
    """Standard deviation of (n,), ddof = 1, scaled so that no square over- or underflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        largest = float(np.abs(values).max())
        return largest * float((values / largest).std(ddof=1)) if np.ptp(values) > 0 else 0.0


def _t_interval(mean: float, sd: float, n: int, confidence: float, overlap: float) -> tuple[float, float]:
    if math.isnan(sd):
        return math.nan, math.nan
    if sd == 0:
        return (mean, mean) if mean == 0 else (math.nan, math.nan)
    from scipy.special import stdtrit  # what scipy.stats.t uses, at a third of the import time

    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * sd * math.sqrt(1 / n + overlap)
    return mean - half, mean + half


def _two_sided_p(t: float, degrees_of_freedom: int) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(degrees_of_freedom, -abs(t)))

"""Sensitivity of a design: its minimum detectable effect, and the seeds still needed for a verdict."""

import math
from dataclasses import dataclass

from experiments.study.study import Metric
from reports.statistics.paired import PairedDifference
from reports.statistics.power import minimum_detectable_effect, num_pairs_for_difference, num_pairs_for_equivalence

from .numbers import choose_decimals, format_count, format_factor, format_number

ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Sensitivity of a paired comparison at its observed SD; NaN if the SD is 0 or unknown.

    mde: minimum detectable effect in the metric's unit, the true difference that is detected with 80 % power. The level
        is ALPHA over the number of tests, which is Holm's first step, so the value is rather too large.
    num_more_pairs: number of additional pairs needed for a verdict at the margin, see `estimate_sensitivity`; 0 if
        there are enough, infinite if no number is, NaN without a margin.
    """

    mde: float
    num_more_pairs: float


def estimate_sensitivity(difference: PairedDifference, metric: Metric, num_comparisons: int) -> Sensitivity:
    """Estimate the sensitivity of a comparison in a family of `num_comparisons` tests.

    Enough pairs for a verdict at the margin have 80 % power to detect a true difference as large as the margin, and
    80 % power to show equivalence at a true difference of 0. Folds are added in whole cross-validations.
    """
    if not difference.sd > 0:
        return Sensitivity(mde=math.nan, num_more_pairs=math.nan)
    alpha = ALPHA / max(num_comparisons, 1)
    overlap = difference.overlap
    mde = minimum_detectable_effect(difference.n, alpha, overlap=overlap) * difference.sd
    if metric.margin is None:
        return Sensitivity(mde=mde, num_more_pairs=math.nan)
    margin = metric.margin / difference.sd
    needed = max(
        num_pairs_for_difference(margin, alpha, overlap=overlap), num_pairs_for_equivalence(margin, overlap=overlap)
    )
    more = max(needed - difference.n, 0)
    if overlap and math.isfinite(more):
        folds = round(1 / overlap) + 1
        more = math.ceil(more / folds) * folds
    return Sensitivity(mde=mde, num_more_pairs=more)


def describe_sensitivity(
    sensitivity: Sensitivity, difference: PairedDifference, metric: Metric, unit: str, *, is_ratio: bool = False
) -> str:
    """Describe the sensitivity as a clause; "" if the SD is 0 or unknown.

    Args:
        sensitivity: of the difference.
        difference: the paired difference.
        metric: with the margin.
        unit: unit of the pairs, "seed" or "fold".
        is_ratio: whether differences and margin are of base-10 logarithms, to be written as factors.
    """
    if math.isnan(sensitivity.mde):
        return ""
    what, zero = ("factor", 1) if is_ratio else ("difference", 0)
    mde = (
        format_factor(sensitivity.mde, 3)
        if is_ratio
        else format_number(sensitivity.mde, choose_decimals([sensitivity.mde], sensitivity.mde))
    )
    pairs = format_count(difference.n, unit)
    text = f"with {pairs} and the observed SD, a true {what} of {mde} is detected with 80 % power"
    if metric.margin is None or math.isnan(sensitivity.num_more_pairs):
        return text
    margin = f"the margin of {f'a factor of {10**metric.margin:.6g}' if is_ratio else metric.margin}"
    if sensitivity.num_more_pairs == 0:
        return f"{text}, which is enough for {margin} unless the true {what} lies between {zero} and the margin"
    if math.isfinite(sensitivity.num_more_pairs):
        more = _format_more_pairs(int(sensitivity.num_more_pairs), difference, unit)
        return f"{text}, and about {more} would probably give a verdict at {margin}"
    if difference.overlap:
        return (
            f"{text}, and no number of repetitions gives a verdict at {margin}, because folds share training examples"
        )
    return f"{text}, and no number of {unit}s gives a verdict at {margin}"


def _format_more_pairs(more: int, difference: PairedDifference, unit: str) -> str:
    if not difference.overlap:
        return format_count(more, f"more {unit}")
    repetitions = more // (round(1 / difference.overlap) + 1)
    return f"{format_count(repetitions, 'more repetition')} of the cross-validation"

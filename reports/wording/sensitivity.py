"""What an undecided contrast could have shown, and about how many more seeds would decide it."""

import math
from dataclasses import dataclass

from experiments.study.study import Metric
from reports.statistics.paired import PairedDifference
from reports.statistics.power import minimum_detectable_effect, num_pairs_for_difference, num_pairs_for_equivalence

from .numbers import choose_decimals, format_count, format_factor, format_number

ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What the pairs at hand find, and how many more decide.

    mde: the minimum detectable effect, in the metric's unit: the true difference that is found with a power of 80 % at
        the observed SD, at alpha over the number of tests (Holm's first step, so rather too large). NaN without spread.
    num_more_pairs: how many more pairs would decide for the margin, see `estimate_sensitivity`; 0 where there are
        enough, infinite where no number is, NaN without a margin or spread.
    """

    mde: float
    num_more_pairs: float


def estimate_sensitivity(difference: PairedDifference, metric: Metric, num_comparisons: int) -> Sensitivity:
    """The sensitivity at the observed spread.

    Enough pairs to decide for the margin are those that, each with a power of 80 %, find a true difference as large as
    the margin and show that a true difference of 0 is inside it. With folds, more come by whole cross-validations.
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
    """The sensitivity as the end of a sentence; nothing where there is no spread to tell it by.

    Arguments:
        sensitivity: of the difference.
        difference: the paired difference.
        metric: with the margin.
        unit: what a pair is, seed or fold.
        is_ratio: whether differences, and the margin, are of logarithms to base 10, and are told as factors.
    """
    if math.isnan(sensitivity.mde):
        return ""
    what, zero = ("factor", 1) if is_ratio else ("difference", 0)
    found = (
        format_factor(sensitivity.mde, 3)
        if is_ratio
        else format_number(sensitivity.mde, choose_decimals([sensitivity.mde], sensitivity.mde))
    )
    text = f"at this spread, {format_count(difference.n, unit)} find a true {what} of {found} four times in five"
    if metric.margin is None or math.isnan(sensitivity.num_more_pairs):
        return text
    margin = f"the margin of {f'a factor of {10**metric.margin:.6g}' if is_ratio else metric.margin}"
    if sensitivity.num_more_pairs == 0:
        return f"{text}, enough for {margin} unless the true {what} lies between {zero} and it"
    if math.isinf(sensitivity.num_more_pairs):
        why = (
            f"no number of {unit}s would decide for {margin}"
            if not difference.overlap
            else f"no number of repetitions would decide for {margin}, since folds share training examples"
        )
        return f"{text}, and {why}"
    more = _more(int(sensitivity.num_more_pairs), difference, unit)
    return f"{text}, and about {more} would probably decide for {margin}"


def _more(more: int, difference: PairedDifference, unit: str) -> str:
    if not difference.overlap:
        return format_count(more, f"more {unit}")
    repetitions = more // (round(1 / difference.overlap) + 1)
    return f"{format_count(repetitions, 'more repetition')} of the cross-validation"

"""What a contrast says, as one word and one sentence.

improves, harms: the difference is not 0 (Holm-adjusted p below 5 %), in the metric's direction or against it.
equivalent: not shown to differ, and shown to differ by less than the margin (TOST). Needs a margin in the study.
undecided: neither. Never "no effect": with few seeds that is the likely outcome of a real, middling effect too. What
the seeds could have found, and how many more would decide, is said instead.

The first two go before the third: a difference can be shown both to exist and to be smaller than the margin. The level
then improves or harms, "below the margin".

An interaction is judged in the same way, by the difference of differences: improves is then that the level does more
for the metric under the first of two levels of another factor than under the second.
"""

import math
from dataclasses import dataclass, replace

from experiments.study.study import Metric
from reports.statistics.effect_sizes import PairStatistics
from reports.statistics.paired import Equivalence, PairedDifference, equivalence

from .numbers import choose_decimals, format_count, format_counts, format_factor, format_number, format_p_value
from .sensitivity import ALPHA, Sensitivity, describe_sensitivity, estimate_sensitivity

IMPROVES, HARMS, EQUIVALENT, UNDECIDED = "improves", "harms", "equivalent", "undecided"
VERDICTS = (IMPROVES, HARMS, EQUIVALENT, UNDECIDED)
BELOW_MARGIN = "below the margin"
_MOST_DIGITS = 8  # of a factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two levels of a factor compared within each seed, before anything is said of it.

    context: the cell of the other factors it is made in; "" for the mean over all contexts.
    num_contexts: how many cells of the other factors have both levels in the design.
    missing: how many trials of the seeds left out are missing, by reason.
    diverged: how many of them diverged at the level and at the reference.
    unit: what a difference is of, seed or fold.
    pair_statistics: what else the values say; None where nobody asks.
    under: of an interaction, the two cells of other factors that are compared, as in ("init=he", "init=xavier"); None
        otherwise.
    is_ratio: whether values are compared by their logarithms (base 10), so that a difference is the power of a factor.
    obstacle: why the values cannot be compared at all; "" where they can.
    """

    factor: str
    level: str
    reference: str
    context: str
    num_contexts: int
    difference: PairedDifference
    num_seeds_left_out: int
    missing: dict[str, int]
    diverged: tuple[int, int] = (0, 0)
    unit: str = "seed"
    pair_statistics: PairStatistics | None = None
    under: tuple[str, str] | None = None
    is_ratio: bool = False
    obstacle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a comparison says.

    equivalence: None when the study names no margin.
    sensitivity: what the seeds find; how many more decide is told only of what is undecided.
    """

    word: str
    p_adjusted: float
    below_margin: bool
    equivalence: Equivalence | None
    sensitivity: Sensitivity

    def __str__(self) -> str:
        return f"{self.word}, {BELOW_MARGIN}" if self.below_margin else self.word


def judge_difference(
    difference: PairedDifference, p_adjusted: float, metric: Metric, num_comparisons: int = 1
) -> Verdict:
    """The verdict on a difference, given its p value adjusted for the family it is in (NaN when there is none)."""
    tost = None if metric.margin is None else equivalence(difference, metric.margin)
    is_small = tost is not None and tost.holds
    is_found = p_adjusted < ALPHA
    if is_found:
        word = IMPROVES if (difference.mean > 0) == (metric.goal == "max") else HARMS
    else:
        word = EQUIVALENT if is_small else UNDECIDED
    sensitivity = estimate_sensitivity(
        difference, metric if word == UNDECIDED else replace(metric, margin=None), num_comparisons
    )
    return Verdict(
        word=word, p_adjusted=p_adjusted, below_margin=is_found and is_small, equivalence=tost, sensitivity=sensitivity
    )


def describe_verdict(comparison: Comparison, verdict: Verdict, metric: Metric) -> str:
    """A comparison and its verdict in plain words, with the numbers they rest on."""
    subject = f"{comparison.factor} ({comparison.context})" if comparison.context else comparison.factor
    difference, unit = comparison.difference, comparison.unit
    says, margin = _says(comparison, metric), metric.margin
    as_text = format_ratio if comparison.is_ratio else format_difference
    if comparison.obstacle:
        return f"{subject}: {says[UNDECIDED]}: {comparison.obstacle}."
    if difference.n < 2:  # noqa: PLR2004 -- what PairedDifference needs
        missing = "both" if comparison.under is None else "all four"
        why = (
            f"no cell of the design has {missing}"
            if comparison.num_contexts == 0
            else f"a difference needs two complete {unit}s, and there {_is_or_are(difference.n)}"
        )
        return f"{subject}: {says[UNDECIDED]}: {why}{_left_out(comparison)}."
    if difference.is_constant and difference.mean != 0:
        shown, *_ = as_text(difference.mean, difference.mean, difference.mean, margin)
        return (
            f"{subject}: {says[UNDECIDED]}: {shown} in each of {format_count(difference.n, unit)}, and without any "
            f"spread between {unit}s there is no interval{_left_out(comparison)}."
        )
    mean, low, high = as_text(difference.mean, difference.ci_low, difference.ci_high, margin)
    if verdict.word == EQUIVALENT and verdict.equivalence is not None:
        tost = verdict.equivalence
        mean, low, high = as_text(difference.mean, tost.ci_low, tost.ci_high, margin)
        numbers = [f"90 % interval {low} to {high}", format_count(difference.n, unit)]
    else:
        p = format_p_value(verdict.p_adjusted)
        numbers = [f"95 % interval {low} to {high}", format_count(difference.n, unit)]
        numbers.append(f"adjusted p < {p[1:]}" if p.startswith("<") else f"adjusted p = {p}")
    notes = _note(comparison, verdict, metric)
    return f"{subject}: {says[verdict.word]}: {mean} ({', '.join(numbers)}){notes}{_left_out(comparison)}."


def _says(comparison: Comparison, metric: Metric) -> dict[str, str]:
    """The statement for each verdict."""
    level, reference, name = comparison.level, comparison.reference, metric.name
    within = _within(comparison, metric)
    if comparison.under is not None:
        one, other = comparison.under
        pair = f"{level} against {reference}"
        return {
            IMPROVES: f"{pair} does more for {name} under {one} than under {other}",
            HARMS: f"{pair} does less for {name} under {one} than under {other}",
            EQUIVALENT: f"{pair} does the same for {name} under {one} as under {other}, within {within}",
            UNDECIDED: f"whether {pair} does more for {name} under {one} than under {other} is {UNDECIDED}",
        }
    return {
        IMPROVES: f"{level} improves {name} against {reference}",
        HARMS: f"{level} harms {name} against {reference}",
        EQUIVALENT: f"{level} is equivalent to {reference} in {name} within {within}",
        UNDECIDED: f"{level} against {reference} is {UNDECIDED} in {name}",
    }


def format_difference(mean: float, low: float, high: float, margin: float | None) -> tuple[str, str, str]:
    """A difference and the ends of its interval, signed and rounded alike, so that none crosses 0 or the margin.

    >>> format_difference(0.01234, 0.00004, 0.02464, margin=None)
    ('+0.01234', '+0.00004', '+0.02464')
    """
    thresholds = (0.0,) if margin is None else (0.0, margin, -margin)
    decimals = choose_decimals((mean, low, high), (high - low) / 2, thresholds)
    texts = [format_number(value, decimals, signed=True) for value in (mean, low, high)]
    return texts[0], texts[1], texts[2]


def format_ratio(mean: float, low: float, high: float, margin: float | None) -> tuple[str, str, str]:
    """The same for powers of ten, as factors: with three digits, and more where these would hide what differs.

    >>> format_ratio(3.0, 2.5, 3.5, margin=None), format_ratio(0.0004, 0.0001, 0.0007, margin=None)[1]
    (('×1,000', '×316', '×3,160'), '×1.0002')
    """
    powers = (mean, low, high)
    thresholds = (0.0,) if margin is None else (0.0, margin, -margin)
    known = {*powers, *thresholds} - {math.nan}
    known = {power for power in known if math.isfinite(power)}
    digits = next(
        (
            found
            for found in range(3, _MOST_DIGITS)
            if len({format_factor(power, found) for power in known}) == len(known)
        ),
        _MOST_DIGITS,
    )
    texts = [format_factor(power, digits) for power in powers]
    return texts[0], texts[1], texts[2]


def _within(comparison: Comparison, metric: Metric) -> str:
    """The margin: a difference to either side, or a factor."""
    if comparison.is_ratio and metric.margin is not None:
        return f"a factor of {10**metric.margin:.6g}"
    return f"±{metric.margin}"


def _note(comparison: Comparison, verdict: Verdict, metric: Metric) -> str:
    notes = []
    difference = comparison.difference
    if verdict.below_margin:
        notes.append(f"{BELOW_MARGIN} of {_within(comparison, metric).removeprefix('±')}")
    if verdict.word == UNDECIDED and difference.p_value < ALPHA:
        notes.append(f"p = {format_p_value(difference.p_value)} alone, but not adjusted for the other contrasts")
    if difference.is_constant:
        notes.append(f"no {comparison.unit} differs at all, so look whether the level reaches the training")
    if verdict.word == UNDECIDED and (outlook := _outlook(comparison, verdict, metric)):
        notes.append(outlook)
    return "".join(f"; {note}" for note in notes)


def _outlook(comparison: Comparison, verdict: Verdict, metric: Metric) -> str:
    return describe_sensitivity(
        verdict.sensitivity, comparison.difference, metric, comparison.unit, is_ratio=comparison.is_ratio
    )


def _left_out(comparison: Comparison) -> str:
    if not comparison.num_seeds_left_out:
        return ""
    left_out = format_count(comparison.num_seeds_left_out, comparison.unit)
    at_level, at_reference = comparison.diverged
    conditional = (
        ""
        if at_level == at_reference or comparison.difference.n < 2  # noqa: PLR2004 -- nothing is said then
        else f"; {comparison.level} diverged {at_level} times and {comparison.reference} {at_reference}, so this holds "
        "only where both train"
    )
    return f"; {left_out} left out ({format_counts(comparison.missing)}){conditional}"


def _is_or_are(n: int) -> str:
    return "is one" if n == 1 else "is none"

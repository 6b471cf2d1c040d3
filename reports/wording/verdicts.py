"""Verdicts on contrasts, each as one word and one sentence.

improves, harms: the difference is significant (Holm-adjusted p < 0.05) and in the direction of the metric's goal, or
against it.
equivalent: not significant, and shown to be smaller than the margin (TOST). Requires a margin in the study.
undecided: neither. The sentence never says "no effect", because with few seeds a moderate effect is likely to remain
undecided. It gives the sensitivity instead: the detectable difference, and the seeds needed for a verdict.

A difference can be significant and shown to be smaller than the margin. The verdict is then improves or harms, with the
addition "below the margin".

Interactions are judged in the same way by the difference of differences: improves means that the level helps the metric
more under the first of two levels of another factor than under the second.
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
_MAX_DIGITS = 8  # significant digits of a factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Comparison of two levels of a factor within each seed, before a verdict.

    context: cell of the other factors; "" for the mean over all contexts.
    num_contexts: number of cells of the other factors in which the design has both levels.
    missing: number of missing trials by reason.
    diverged: number of diverged trials at the level and at the reference.
    unit: unit of the pairs, "seed" or "fold".
    pair_statistics: further statistics of the pairs; None if not computed.
    under: for an interaction, the two cells of the other factor, such as ("init=he", "init=xavier"); otherwise None.
    is_ratio: whether base-10 logarithms are compared, so that a difference is the power of a factor.
    obstacle: reason why the values cannot be compared; "" if they can.
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
    """Verdict on a comparison.

    equivalence: None if the study has no margin.
    sensitivity: of the comparison; the number of additional pairs is NaN unless the verdict is undecided.
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
    """Judge a difference by its p-value adjusted for its family (NaN if there is none)."""
    tost = None if metric.margin is None else equivalence(difference, metric.margin)
    is_small = tost is not None and tost.holds
    is_significant = p_adjusted < ALPHA
    if is_significant:
        word = IMPROVES if (difference.mean > 0) == (metric.goal == "max") else HARMS
    else:
        word = EQUIVALENT if is_small else UNDECIDED
    sensitivity = estimate_sensitivity(
        difference, metric if word == UNDECIDED else replace(metric, margin=None), num_comparisons
    )
    return Verdict(
        word=word,
        p_adjusted=p_adjusted,
        below_margin=is_significant and is_small,
        equivalence=tost,
        sensitivity=sensitivity,
    )


def describe_verdict(comparison: Comparison, verdict: Verdict, metric: Metric) -> str:
    """Describe a comparison and its verdict in a sentence with the numbers."""
    subject = f"{comparison.factor} ({comparison.context})" if comparison.context else comparison.factor
    difference, unit = comparison.difference, comparison.unit
    statements, margin = _write_statements(comparison, metric), metric.margin
    format_values = format_ratio if comparison.is_ratio else format_difference
    if comparison.obstacle:
        return f"{subject}: {statements[UNDECIDED]}: {comparison.obstacle}."
    if difference.n < 2:  # noqa: PLR2004 -- what PairedDifference needs
        cells = "both levels" if comparison.under is None else "all four cells"
        why = (
            f"the design has no context with {cells}"
            if comparison.num_contexts == 0
            else f"a confidence interval needs two complete {unit}s; there {'is one' if difference.n else 'are none'}"
        )
        return f"{subject}: {statements[UNDECIDED]}: {why}{_describe_left_out(comparison)}."
    if difference.is_constant and difference.mean != 0:
        shown, *_ = format_values(difference.mean, difference.mean, difference.mean, margin)
        return (
            f"{subject}: {statements[UNDECIDED]}: the difference is {shown} in each of "
            f"{format_count(difference.n, unit)}; without variation, no confidence interval can be computed"
            f"{_describe_left_out(comparison)}."
        )
    mean, low, high = format_values(difference.mean, difference.ci_low, difference.ci_high, margin)
    if verdict.word == EQUIVALENT and verdict.equivalence is not None:
        tost = verdict.equivalence
        mean, low, high = format_values(difference.mean, tost.ci_low, tost.ci_high, margin)
        numbers = [f"90 % confidence interval {low} to {high}", format_count(difference.n, unit)]
    else:
        p = format_p_value(verdict.p_adjusted)
        numbers = [f"95 % confidence interval {low} to {high}", format_count(difference.n, unit)]
        numbers.append(f"Holm-adjusted p < {p[1:]}" if p.startswith("<") else f"Holm-adjusted p = {p}")
    notes = _describe_caveats(comparison, verdict, metric)
    return (
        f"{subject}: {statements[verdict.word]}: {mean} ({', '.join(numbers)}){notes}{_describe_left_out(comparison)}."
    )


def _write_statements(comparison: Comparison, metric: Metric) -> dict[str, str]:
    """Return the statement for each verdict."""
    level, reference, name = comparison.level, comparison.reference, metric.name
    within = _format_margin(comparison, metric)
    if comparison.under is not None:
        one, other = comparison.under
        change = f"replacing {reference} by {level}"
        return {
            IMPROVES: f"{change} helps {name} more under {one} than under {other}",
            HARMS: f"{change} helps {name} less under {one} than under {other}",
            EQUIVALENT: f"the effect of {change} on {name} is equivalent under {one} and {other} within {within}",
            UNDECIDED: f"whether {change} affects {name} differently under {one} and {other} is {UNDECIDED}",
        }
    return {
        IMPROVES: f"{level} improves {name} compared with {reference}",
        HARMS: f"{level} harms {name} compared with {reference}",
        EQUIVALENT: f"{level} is equivalent to {reference} in {name} within {within}",
        UNDECIDED: f"whether {level} and {reference} differ in {name} is {UNDECIDED}",
    }


def format_difference(mean: float, low: float, high: float, margin: float | None) -> tuple[str, str, str]:
    """Format a difference and its interval with the same decimals, so that rounding crosses neither 0 nor the margin.

    >>> format_difference(0.01234, 0.00004, 0.02464, margin=None)
    ('+0.01234', '+0.00004', '+0.02464')
    """
    thresholds = (0.0,) if margin is None else (0.0, margin, -margin)
    decimals = choose_decimals((mean, low, high), (high - low) / 2, thresholds)
    texts = [format_number(value, decimals, signed=True) for value in (mean, low, high)]
    return texts[0], texts[1], texts[2]


def format_ratio(mean: float, low: float, high: float, margin: float | None) -> tuple[str, str, str]:
    """Format powers of ten as factors, with three significant digits or as many as keep different values different.

    >>> format_ratio(3.0, 2.5, 3.5, margin=None), format_ratio(0.0004, 0.0001, 0.0007, margin=None)[1]
    (('×1,000', '×316', '×3,160'), '×1.0002')
    """
    powers = (mean, low, high)
    thresholds = (0.0,) if margin is None else (0.0, margin, -margin)
    known = {*powers, *thresholds} - {math.nan}
    known = {power for power in known if math.isfinite(power)}
    digits = next(
        (
            count
            for count in range(3, _MAX_DIGITS)
            if len({format_factor(power, count) for power in known}) == len(known)
        ),
        _MAX_DIGITS,
    )
    texts = [format_factor(power, digits) for power in powers]
    return texts[0], texts[1], texts[2]


def _format_margin(comparison: Comparison, metric: Metric) -> str:
    """Return the margin as a range, "±0.01" or "a factor of 2"."""
    if comparison.is_ratio and metric.margin is not None:
        return f"a factor of {10**metric.margin:.6g}"
    return f"±{metric.margin}"


def _describe_caveats(comparison: Comparison, verdict: Verdict, metric: Metric) -> str:
    notes = []
    difference = comparison.difference
    if verdict.below_margin:
        notes.append(f"the difference is {BELOW_MARGIN} of {_format_margin(comparison, metric).removeprefix('±')}")
    if verdict.word == UNDECIDED and difference.p_value < ALPHA:
        notes.append(f"p = {format_p_value(difference.p_value)} before Holm's adjustment")
    if difference.is_constant:
        notes.append(f"the difference is 0 in every {comparison.unit}, so check that the level changes the training")
    if verdict.word == UNDECIDED:
        notes.append(
            describe_sensitivity(verdict.sensitivity, difference, metric, comparison.unit, is_ratio=comparison.is_ratio)
        )
    return "".join(f"; {note}" for note in notes if note)


def _describe_left_out(comparison: Comparison) -> str:
    if not comparison.num_seeds_left_out:
        return ""
    left_out = format_count(comparison.num_seeds_left_out, comparison.unit)
    at_level, at_reference = comparison.diverged
    conditional = (
        ""
        if at_level == at_reference or comparison.difference.n < 2  # noqa: PLR2004 -- there is no result to qualify
        else f"; {comparison.level} diverged in {format_count(at_level, 'trial')} and {comparison.reference} in "
        f"{at_reference}, so the result holds only for seeds in which neither diverged"
    )
    return f"; {left_out} left out ({format_counts(comparison.missing)}){conditional}"

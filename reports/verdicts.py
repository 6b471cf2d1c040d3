"""What a contrast says, as one word and one sentence.

improves, harms: the difference is not 0 (Holm-adjusted p below 5 %), in the metric's direction or against it.
equivalent: not shown to differ, and shown to differ by less than the margin (TOST). Needs a margin in the study.
undecided: neither. Never "no effect": with few seeds that is the likely outcome of a real, middling effect too.

The first two go before the third: a difference can be shown both to exist and to be smaller than the margin. The level
then improves or harms, "below the margin".
"""

from dataclasses import dataclass

from experiments.study import Metric

from .statistics import Equivalence, PairedDifference, equivalence
from .text import counted, counts_in_words, decimals_for, number, p_text

IMPROVES, HARMS, EQUIVALENT, UNDECIDED = "improves", "harms", "equivalent", "undecided"
VERDICTS = (IMPROVES, HARMS, EQUIVALENT, UNDECIDED)
ALPHA = 0.05
BELOW_MARGIN = "below the margin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two levels of a factor compared within each seed, before anything is said of it.

    context: the cell of the other factors it is made in; "" for the mean over all contexts.
    num_contexts: how many cells of the other factors have both levels in the design.
    missing: how many trials of the seeds left out are missing, by reason.
    unit: what a difference is of, seed or fold.
    """

    factor: str
    level: str
    reference: str
    context: str
    num_contexts: int
    difference: PairedDifference
    num_seeds_left_out: int
    missing: dict[str, int]
    unit: str = "seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a comparison says. `equivalence` is None when the study names no margin."""

    word: str
    p_adjusted: float
    below_margin: bool
    equivalence: Equivalence | None

    def __str__(self) -> str:
        return f"{self.word}, {BELOW_MARGIN}" if self.below_margin else self.word


def judge(difference: PairedDifference, p_adjusted: float, metric: Metric) -> Verdict:
    """The verdict on a difference, given its p value adjusted for the family it is in (NaN when there is none)."""
    tost = None if metric.margin is None else equivalence(difference, metric.margin)
    is_small = tost is not None and tost.holds
    if p_adjusted < ALPHA:
        is_better = (difference.mean > 0) == (metric.goal == "max")
        word = IMPROVES if is_better else HARMS
        return Verdict(word=word, p_adjusted=p_adjusted, below_margin=is_small, equivalence=tost)
    return Verdict(
        word=EQUIVALENT if is_small else UNDECIDED, p_adjusted=p_adjusted, below_margin=False, equivalence=tost
    )


def sentence(comparison: Comparison, verdict: Verdict, metric: Metric) -> str:
    """A comparison and its verdict in plain words, with the numbers they rest on."""
    subject = f"{comparison.factor} ({comparison.context})" if comparison.context else comparison.factor
    level, reference, name = comparison.level, comparison.reference, metric.name
    difference, unit = comparison.difference, comparison.unit
    if difference.n < 2:  # noqa: PLR2004 -- what PairedDifference needs
        why = (
            "no cell of the design has both"
            if comparison.num_contexts == 0
            else f"a difference needs two complete {unit}s, and there {_is_or_are(difference.n)}"
        )
        return f"{subject}: {level} against {reference} is {UNDECIDED} in {name}: {why}{_left_out(comparison)}."
    margin = metric.margin
    if difference.is_constant and difference.mean != 0:
        shown, *_ = difference_text(difference.mean, difference.mean, difference.mean, margin)
        return (
            f"{subject}: {level} against {reference} is {UNDECIDED} in {name}: {shown} in each of "
            f"{counted(difference.n, unit)}, and without any spread between {unit}s there is no interval"
            f"{_left_out(comparison)}."
        )
    says = {
        IMPROVES: f"{level} improves {name} against {reference}",
        HARMS: f"{level} harms {name} against {reference}",
        EQUIVALENT: f"{level} is equivalent to {reference} in {name} within ±{margin}",
        UNDECIDED: f"{level} against {reference} is {UNDECIDED} in {name}",
    }[verdict.word]
    mean, low, high = difference_text(difference.mean, difference.ci_low, difference.ci_high, margin)
    if verdict.word == EQUIVALENT and verdict.equivalence is not None:
        tost = verdict.equivalence
        mean, low, high = difference_text(difference.mean, tost.ci_low, tost.ci_high, margin)
        numbers = [f"90 % interval {low} to {high}", counted(difference.n, unit)]
    else:
        p = p_text(verdict.p_adjusted)
        numbers = [f"95 % interval {low} to {high}", counted(difference.n, unit)]
        numbers.append(f"adjusted p < {p[1:]}" if p.startswith("<") else f"adjusted p = {p}")
    return (
        f"{subject}: {says}: {mean} ({', '.join(numbers)}){_note(comparison, verdict, metric)}{_left_out(comparison)}."
    )


def difference_text(mean: float, low: float, high: float, margin: float | None) -> tuple[str, str, str]:
    """A difference and the ends of its interval, signed and rounded alike, so that none crosses 0 or the margin.

    >>> difference_text(0.01234, 0.00004, 0.02464, margin=None)
    ('+0.01234', '+0.00004', '+0.02464')
    """
    thresholds = (0.0,) if margin is None else (0.0, margin, -margin)
    decimals = decimals_for((mean, low, high), (high - low) / 2, thresholds)
    texts = [number(value, decimals, signed=True) for value in (mean, low, high)]
    return texts[0], texts[1], texts[2]


def _note(comparison: Comparison, verdict: Verdict, metric: Metric) -> str:
    notes = []
    difference = comparison.difference
    if verdict.below_margin:
        notes.append(f"{BELOW_MARGIN} of {metric.margin}")
    if verdict.word == UNDECIDED and difference.p_value < ALPHA:
        notes.append(f"p = {p_text(difference.p_value)} alone, but not adjusted for the other contrasts")
    if difference.is_constant:
        notes.append(f"no {comparison.unit} differs at all")
    return "".join(f"; {note}" for note in notes)


def _left_out(comparison: Comparison) -> str:
    if not comparison.num_seeds_left_out:
        return ""
    return (
        f"; {counted(comparison.num_seeds_left_out, comparison.unit)} left out ({counts_in_words(comparison.missing)})"
    )


def _is_or_are(n: int) -> str:
    return "is one" if n == 1 else "is none"

"""Contrasts of each level with its factor's reference, paired by seed.

The main effect of a level is its mean difference from the reference over the contexts, computed within each seed. A
context is a cell of the other factors in which the design has both levels. A seed with a missing trial is left out. A
simple effect is the difference in a single context. Main effects and simple effects are separate Holm families. If the
study has folds, each seed is a fold, and intervals and p-values are corrected for shared training examples.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.study.study import Metric, Study
from experiments.trials.trial import TrialStatus
from reports.statistics.effect_sizes import PairStatistics, pair_statistics
from reports.statistics.paired import holm, paired_difference
from reports.wording.numbers import format_cell, format_counts
from reports.wording.verdicts import Comparison, describe_verdict, judge_difference

from .cells import Outcomes, average_complete_seeds

EFFECT_SIZE = "d_z"  # mean difference / SD of the differences
_NUMBERS = ("mean_difference", "ci_low", "ci_high", "p_value", "p_adjusted", "effect_size", "sd_difference")
_PAIRS = (
    *("seed_correlation", "wins", "losses", "ties", "hedges_g"),
    *("sign_flip_p", "sign_flip_floor", "bootstrap_low", "bootstrap_high"),
)
COLUMNS = (
    *("factor", "level", "reference", "metric", "n", *_NUMBERS[:-1], "verdict"),
    *("context", "sd_difference", "num_seeds_left_out", "left_out", "num_contexts", "num_comparisons"),
    *("effect_size_name", "equivalence_low", "equivalence_high", "below_margin", "is_constant", "sentence"),
    *_PAIRS,
    *("mde", "more_seeds"),
)

Contrast = tuple[str, str, str]  # factor, level, reference


def contrast_table(study: Study, outcomes: Outcomes) -> pd.DataFrame:
    """Return one row per contrast: the main effects, then the simple effects. Empty for a study with one seed.

    Columns in addition to the documented ones of contrasts.csv:
        context: "" for a main effect, the cell of the other factors for a simple effect. With a single context, the
            simple effect equals the main effect and is not listed.
        sd_difference: standard deviation of the paired differences.
        num_seeds_left_out, left_out: number of incomplete seeds, and the reasons ("1 diverged, 2 failed").
        num_contexts: number of contexts that the row averages.
        num_comparisons: size of the Holm family.
        effect_size_name: name of the statistic in effect_size.
        equivalence_low, equivalence_high: 90 % interval of the equivalence test; NaN without a margin.
        below_margin: the verdict is improves or harms, but the difference is shown to be smaller than the margin.
        is_constant: all paired differences are equal, so the width of the interval is unknown.
        sentence: the verdict as a sentence.
        seed_correlation: Pearson correlation of level and reference over seeds; the higher, the more pairing helps.
        wins, losses, ties: number of seeds in which the level is better, worse or the same, by the metric's goal.
        hedges_g: mean difference over the SD of a trial, see `hedges_g_av`; unlike d_z.
        sign_flip_p, sign_flip_floor: p-value of the sign-flip test, which does not assume normality, and the smallest
            possible one for this number of seeds; NaN for folds.
        bootstrap_low, bootstrap_high: 95 % bootstrap-t interval; NaN for fewer than 10 seeds and for folds.
        mde: true difference, in the metric's unit, that is detected with 80 % power at this row's SD and family size.
        more_seeds: approximate number of additional seeds needed for a verdict at the margin, see
            `estimate_sensitivity`; 0 if there are enough, NaN for other verdicts than undecided, without a margin, and
            if no number is enough.
    """
    if len(study.seeds) == 1:
        return judge_family([], study.metric)
    compared = [compare_levels(outcomes, *contrast) for contrast in list_contrasts(study)]
    main = [mean for mean, *_ in compared]
    simple = [single for _, *others in compared for single in others]
    return pd.concat([judge_family(main, study.metric), judge_family(simple, study.metric)], ignore_index=True)


def list_contrasts(study: Study) -> list[Contrast]:
    """List each level of each factor with the factor's reference."""
    return [
        (factor.name, level, factor.reference)
        for factor in study.factors
        for level in factor.level_names
        if level != factor.reference
    ]


def compare_levels(outcomes: Outcomes, factor: str, level: str, reference: str) -> list[Comparison]:
    """Compare a level with a reference: the main effect, then the simple effects if there are several contexts."""
    pairs = pair_contexts(outcomes, factor, level, reference)
    groups: Mapping[str, Sequence[tuple[int, int]]] = {"": list(pairs.values())}
    if len(pairs) > 1:
        groups = {**groups, **{context: [pair] for context, pair in pairs.items()}}
    contrast = (factor, level, reference)
    return [_compare_in_contexts(outcomes, contrast, context, group) for context, group in groups.items()]


def pair_contexts(outcomes: Outcomes, factor: str, level: str, reference: str) -> dict[str, tuple[int, int]]:
    """Return the rows of the cells with the level and with the reference, by context, if the design has both."""
    position = outcomes.factors.index(factor)
    rows: dict[str, dict[tuple[str, ...], int]] = {level: {}, reference: {}}
    for row, cell in enumerate(outcomes.cells):
        if cell[position] in rows:
            rows[cell[position]][cell[:position] + cell[position + 1 :]] = row
    others = [name for name in outcomes.factors if name != factor]
    return {
        format_cell(dict(zip(others, context, strict=True))): (row, rows[reference][context])
        for context, row in rows[level].items()
        if context in rows[reference]
    }


def judge_family(comparisons: Sequence[Comparison], metric: Metric | Sequence[Metric]) -> pd.DataFrame:
    """Judge comparisons as one Holm family and return the rows of `contrast_table`.

    Args:
        comparisons: the family.
        metric: the metric of all comparisons, or of each.
    """
    metrics = [metric] * len(comparisons) if isinstance(metric, Metric) else metric
    adjusted = holm([comparison.difference.p_value for comparison in comparisons])
    num_comparisons = int(np.count_nonzero(~np.isnan(adjusted)))
    rows = [
        _row(comparison, float(p_adjusted), its_metric, num_comparisons)
        for comparison, p_adjusted, its_metric in zip(comparisons, adjusted, metrics, strict=True)
    ]
    counts = ("n", "num_seeds_left_out", "num_contexts", "num_comparisons", "wins", "losses", "ties")
    texts = ("factor", "level", "reference", "metric", "verdict", "context", "left_out", "effect_size_name", "sentence")
    flags = ("below_margin", "is_constant")
    types = dict.fromkeys(counts, "int64") | dict.fromkeys(flags, "bool")
    types |= {name: "float64" for name in COLUMNS if name not in {*counts, *texts, *flags}}
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)


def _compare_in_contexts(
    outcomes: Outcomes, contrast: Contrast, context: str, pairs: Sequence[tuple[int, int]]
) -> Comparison:
    factor, level, reference = contrast
    at_level = [row for row, _ in pairs]
    at_reference = [row for _, row in pairs]
    (one, other), num_seeds_left_out, missing = average_complete_seeds(outcomes, [at_level, at_reference])
    return Comparison(
        factor=factor,
        level=level,
        reference=reference,
        context=context,
        num_contexts=len(pairs),
        difference=paired_difference(one, other, overlap=outcomes.overlap),
        num_seeds_left_out=num_seeds_left_out,
        missing=missing,
        diverged=(
            int(np.count_nonzero(outcomes.states[at_level] == TrialStatus.DIVERGED)),
            int(np.count_nonzero(outcomes.states[at_reference] == TrialStatus.DIVERGED)),
        ),
        unit=outcomes.unit,
        pair_statistics=pair_statistics(one, other, overlap=outcomes.overlap),
    )


def _row(comparison: Comparison, p_adjusted: float, metric: Metric, num_comparisons: int) -> dict[str, Any]:
    difference = comparison.difference
    verdict = judge_difference(difference, p_adjusted, metric, num_comparisons)
    tost = verdict.equivalence
    return {
        "factor": comparison.factor,
        "level": comparison.level,
        "reference": comparison.reference,
        "metric": metric.name,
        "n": difference.n,
        "mean_difference": difference.mean,
        "ci_low": difference.ci_low,
        "ci_high": difference.ci_high,
        "p_value": difference.p_value,
        "p_adjusted": p_adjusted,
        "effect_size": difference.d_z,
        "verdict": verdict.word,
        "context": comparison.context,
        "sd_difference": difference.sd,
        "num_seeds_left_out": comparison.num_seeds_left_out,
        "left_out": format_counts(comparison.missing),
        "num_contexts": comparison.num_contexts,
        "num_comparisons": num_comparisons,
        "effect_size_name": EFFECT_SIZE,
        "equivalence_low": np.nan if tost is None else tost.ci_low,
        "equivalence_high": np.nan if tost is None else tost.ci_high,
        "below_margin": verdict.below_margin,
        "is_constant": difference.is_constant,
        "sentence": describe_verdict(comparison, verdict, metric),
        **_pair_columns(comparison.pair_statistics, metric.goal),
        "mde": verdict.sensitivity.mde,
        "more_seeds": verdict.sensitivity.num_more_pairs
        if math.isfinite(verdict.sensitivity.num_more_pairs)
        else math.nan,
    }


def _pair_columns(pairs: PairStatistics | None, goal: str) -> dict[str, Any]:
    if pairs is None:
        return dict.fromkeys(_PAIRS, math.nan) | dict.fromkeys(("wins", "losses", "ties"), 0)
    wins, losses = pairs.num_higher, pairs.num_lower
    if goal == "min":
        wins, losses = losses, wins
    return {
        "seed_correlation": pairs.correlation,
        "wins": wins,
        "losses": losses,
        "ties": pairs.num_equal,
        "hedges_g": pairs.hedges_g,
        "sign_flip_p": pairs.sign_flip_p,
        "sign_flip_floor": pairs.sign_flip_floor,
        "bootstrap_low": pairs.bootstrap_low,
        "bootstrap_high": pairs.bootstrap_high,
    }

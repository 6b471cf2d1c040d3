"""Every level of a study against its factor's reference, paired by seed.

A main effect is, within each seed, the mean over the contexts (the cells of the other factors in which the design has
both levels). A seed takes part when all these trials have a value; otherwise it is left out and counted. A simple
effect is the same in one context. Main effects are one Holm family and simple effects another. Where the study has
folds, a seed is a fold, and intervals and p values are corrected for the training examples that folds share.

K contexts, S seeds.
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
    """One row a contrast: the main effects, then the simple effects. Empty for a study of one seed.

    Columns, beyond the documented ones of contrasts.csv:
        context: "" for a main effect; the cell of the other factors for a simple effect. A simple effect that is its
            main effect (one context) is not listed.
        sd_difference: of the differences by seed.
        num_seeds_left_out, left_out: the seeds without a full set of trials, and why ("1 diverged, 2 failed").
        num_contexts: the cells of the other factors that the row is the mean of.
        num_comparisons: the size of the Holm family.
        effect_size_name: what effect_size is.
        equivalence_low, equivalence_high: the 90 % interval that is held against the margin; NaN without a margin.
        below_margin: improves or harms, and yet shown to be smaller than the margin.
        is_constant: all seeds differ by the same amount, so the width of the interval is not known.
        sentence: the verdict in plain words.
        seed_correlation: of level and reference over seeds (Pearson); what pairing gains by.
        wins, losses, ties: seeds in which the level is better, worse, the same, by the metric's goal.
        hedges_g: mean difference over the SD of a run, see `pairs.hedges_g_av`; not d_z.
        sign_flip_p, sign_flip_floor: p without the assumption of normality, and the smallest that so many seeds can
            give; NaN for folds.
        bootstrap_low, bootstrap_high: 95 % bootstrap-t interval; NaN below 10 seeds, and for folds.
        mde: the true difference that is found with a power of 80 %, in the metric's unit, at this row's SD and family.
        more_seeds: about how many more seeds would decide for the margin (`estimate_sensitivity`); 0 where there are
            enough; NaN where it is decided, no margin is named, or no number of them would.
    """
    if len(study.seeds) == 1:
        return judge_family([], study.metric)
    compared = [compare_levels(outcomes, *contrast) for contrast in list_contrasts(study)]
    main = [mean for mean, *_ in compared]
    simple = [single for _, *others in compared for single in others]
    return pd.concat([judge_family(main, study.metric), judge_family(simple, study.metric)], ignore_index=True)


def list_contrasts(study: Study) -> list[Contrast]:
    """Every level of every factor against the factor's reference."""
    return [
        (factor.name, level, factor.reference)
        for factor in study.factors
        for level in factor.level_names
        if level != factor.reference
    ]


def compare_levels(outcomes: Outcomes, factor: str, level: str, reference: str) -> list[Comparison]:
    """The main effect of a level against a reference, and its simple effects when there is more than one context."""
    pairs = pair_contexts(outcomes, factor, level, reference)
    groups: Mapping[str, Sequence[tuple[int, int]]] = {"": list(pairs.values())}
    if len(pairs) > 1:
        groups = {**groups, **{context: [pair] for context, pair in pairs.items()}}
    contrast = (factor, level, reference)
    return [_comparison(outcomes, contrast, context, group) for context, group in groups.items()]


def pair_contexts(outcomes: Outcomes, factor: str, level: str, reference: str) -> dict[str, tuple[int, int]]:
    """The rows of the cells with the level and with the reference, by context: those that the design has both of."""
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
    """Comparisons as one Holm family: the rows of `contrast_table`.

    Arguments:
        comparisons: the family.
        metric: what they compare, of all or of each.
    """
    metrics = [metric] * len(comparisons) if isinstance(metric, Metric) else metric
    adjusted = holm([comparison.difference.p_value for comparison in comparisons])
    num_comparisons = int(np.count_nonzero(~np.isnan(adjusted)))
    rows = [
        _row(comparison, float(p_adjusted), compared, num_comparisons)
        for comparison, p_adjusted, compared in zip(comparisons, adjusted, metrics, strict=True)
    ]
    counts = ("n", "num_seeds_left_out", "num_contexts", "num_comparisons", "wins", "losses", "ties")
    texts = ("factor", "level", "reference", "metric", "verdict", "context", "left_out", "effect_size_name", "sentence")
    flags = ("below_margin", "is_constant")
    types = dict.fromkeys(counts, "int64") | dict.fromkeys(flags, "bool")
    types |= {name: "float64" for name in COLUMNS if name not in {*counts, *texts, *flags}}
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)


def _comparison(outcomes: Outcomes, contrast: Contrast, context: str, pairs: Sequence[tuple[int, int]]) -> Comparison:
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
        **_pairs_columns(comparison.pair_statistics, metric.goal),
        "mde": verdict.sensitivity.mde,
        "more_seeds": verdict.sensitivity.num_more_pairs
        if math.isfinite(verdict.sensitivity.num_more_pairs)
        else math.nan,
    }


def _pairs_columns(pairs: PairStatistics | None, goal: str) -> dict[str, Any]:
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

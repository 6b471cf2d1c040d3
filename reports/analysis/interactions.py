"""Whether a level does more under one level of another factor than under its reference: differences of differences.

For levels a1, a0 (its reference) of one factor and b1, b0 of another, the interaction of a seed is
(y(a1,b1) - y(a0,b1)) - (y(a1,b0) - y(a0,b0)), averaged over the contexts: the cells of the remaining factors in which
the design has all four. Its mean over seeds has a paired t interval like any difference. For a 2 x 2 design this is the
interaction of the ANOVA with seeds as blocks, tested against its own spread over seeds instead of a pooled one, so it
does not assume that all interactions vary alike.

An interaction is of a scale: accuracies near 1 are squeezed, so levels that differ alike in log odds differ less there.

K contexts, S seeds.
"""

from typing import Any

import numpy as np
import pandas as pd

from experiments.study.study import Study
from experiments.trials.trial import TrialStatus
from reports.statistics.paired import holm, paired_difference
from reports.wording.numbers import cell_name
from reports.wording.verdicts import EQUIVALENT, HARMS, IMPROVES, UNDECIDED, Comparison, judge, sentence

from .cells import Outcomes, missing_counts

HELPS_MORE, HELPS_LESS = "helps more", "helps less"
WORDS = {IMPROVES: HELPS_MORE, HARMS: HELPS_LESS, EQUIVALENT: EQUIVALENT, UNDECIDED: UNDECIDED}
_NUMBERS = ("mean_difference", "ci_low", "ci_high", "p_value", "p_adjusted", "sd_difference", "mde")
_NAMES = ("factor_a", "factor_b", "level_a", "reference_a", "level_b", "reference_b")
COLUMNS = (
    *(*_NAMES, "metric", "n"),
    *("mean_difference", "ci_low", "ci_high", "p_value", "p_adjusted", "verdict", "sentence"),
    *("sd_difference", "mde", "num_seeds_left_out", "num_contexts", "num_comparisons"),
)

Pair = tuple[str, str, str]  # factor, level, reference


def interaction_table(study: Study, outcomes: Outcomes) -> pd.DataFrame:
    """One row an interaction of two factors' levels; empty for other than full designs, one factor or one seed.

    All rows are one Holm family.

    Columns:
        factor_a, factor_b, level_a, reference_a, level_b, reference_b: what interacts.
        metric, n: the seeds with all trials.
        mean_difference, ci_low, ci_high: how much more level_a - reference_a is under level_b than under reference_b.
        p_value, p_adjusted: two-sided.
        verdict: helps more, helps less (level_a, under level_b, in the metric's direction), equivalent (within the
            margin), or undecided.
        sentence: the verdict in plain words.
        sd_difference, mde, num_seeds_left_out, num_contexts, num_comparisons: as in `contrast_table`.
    """
    names: list[tuple[Pair, Pair]] = []
    if study.design == "full" and len(study.seeds) > 1:
        others = [
            [(f.name, level, f.reference) for level in f.level_names if level != f.reference] for f in study.factors
        ]
        names = [
            (one, other)
            for place, ones in enumerate(others)
            for following in others[place + 1 :]
            for one in ones
            for other in following
        ]
    grid = _Grid(outcomes)
    comparisons = [interaction(outcomes, one, other, grid) for one, other in names]
    adjusted = holm([comparison.difference.p_value for comparison in comparisons])
    num_comparisons = int(np.count_nonzero(~np.isnan(adjusted)))
    rows: list[dict[str, Any]] = []
    for pair, comparison, p_adjusted in zip(names, comparisons, adjusted, strict=True):
        difference = comparison.difference
        verdict = judge(difference, float(p_adjusted), study.metric, num_comparisons)
        (factor_a, level_a, reference_a), (factor_b, level_b, reference_b) = pair
        texts = (factor_a, factor_b, level_a, reference_a, level_b, reference_b)
        rows.append(
            {
                **dict(zip(_NAMES, texts, strict=True)),
                "metric": study.metric.name,
                "n": difference.n,
                "mean_difference": difference.mean,
                "ci_low": difference.ci_low,
                "ci_high": difference.ci_high,
                "p_value": difference.p_value,
                "p_adjusted": float(p_adjusted),
                "verdict": WORDS[verdict.word],
                "sentence": sentence(comparison, verdict, study.metric),
                "sd_difference": difference.sd,
                "mde": verdict.outlook.mde,
                "num_seeds_left_out": comparison.num_seeds_left_out,
                "num_contexts": comparison.num_contexts,
                "num_comparisons": num_comparisons,
            }
        )
    types = dict.fromkeys(_NUMBERS, "float64")
    types |= dict.fromkeys(("n", "num_seeds_left_out", "num_contexts", "num_comparisons"), "int64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)


class _Grid:
    """The cells as an array with an axis a factor, so that the cells of a level are a slice."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.levels = [
            list(dict.fromkeys(cell[axis] for cell in outcomes.cells)) for axis in range(len(outcomes.factors))
        ]
        self.rows = np.full([len(names) for names in self.levels], -1)  # -1 where the design has no cell
        places = [{name: place for place, name in enumerate(names)} for names in self.levels]
        for row, cell in enumerate(outcomes.cells):
            self.rows[tuple(places[axis][name] for axis, name in enumerate(cell))] = row

    def at(self, first: tuple[int, str], second: tuple[int, str]) -> np.ndarray:
        """The rows of the cells with two levels, each given by its axis and name, one a context; -1 for no cell."""
        shape = [size for axis, size in enumerate(self.rows.shape) if axis not in {first[0], second[0]}]
        if any(name not in self.levels[axis] for axis, name in (first, second)):
            return np.full(int(np.prod(shape)), -1)
        index: list[Any] = [slice(None)] * self.rows.ndim
        for axis, name in (first, second):
            index[axis] = self.levels[axis].index(name)
        return np.asarray(self.rows[tuple(index)]).reshape(-1)


def interaction(outcomes: Outcomes, one: Pair, other: Pair, grid: _Grid | None = None) -> Comparison:
    """One interaction: how much more level - reference of `one` is under the level of `other` than under its reference.

    Arguments:
        outcomes: the metric on its grid.
        one: (factor, level, reference).
        other: the same of another factor.
        grid: of the same outcomes, where several interactions are asked for.
    """
    grid = grid or _Grid(outcomes)
    (factor_a, level_a, reference_a), (factor_b, level_b, reference_b) = one, other
    axis_a, axis_b = outcomes.factors.index(factor_a), outcomes.factors.index(factor_b)
    rows = np.stack(
        [
            grid.at((axis_a, level), (axis_b, under))
            for level, under in (
                *((level_a, level_b), (reference_a, reference_b)),
                *((reference_a, level_b), (level_a, reference_b)),
            )
        ]
    )
    rows = rows[:, (rows >= 0).all(axis=0)]  # (4, K)
    num_contexts = rows.shape[1]
    states = outcomes.states[rows.reshape(-1)]  # (4 K, S)
    is_complete = (
        (states == TrialStatus.FINISHED).all(axis=0) if num_contexts else np.zeros(len(outcomes.seeds), dtype=bool)
    )
    means = outcomes.scores[rows][:, :, is_complete].mean(axis=1) if num_contexts else np.zeros((4, 0))
    return Comparison(
        factor=f"{factor_a} × {factor_b}",
        level=level_a,
        reference=reference_a,
        context="",
        num_contexts=num_contexts,
        # As two sums, so that what rounding alone explains is told by the size of the values.
        difference=paired_difference(means[0] + means[1], means[2] + means[3], overlap=outcomes.overlap),
        num_seeds_left_out=int(np.count_nonzero(~is_complete)) if num_contexts else 0,
        missing=missing_counts(states),
        unit="seed" if outcomes.folds is None else "fold",
        under=(cell_name({factor_b: level_b}), cell_name({factor_b: reference_b})),
    )

"""Interactions of two factors, as differences of differences.

For level a1 and reference a0 of one factor and b1, b0 of another, the interaction within a seed is
(y(a1,b1) - y(a0,b1)) - (y(a1,b0) - y(a0,b0)), averaged over the contexts: the cells of the remaining factors in which
the design has all four cells. Its mean over seeds has a paired t interval. In a 2 x 2 design, this is the interaction
of the ANOVA with seeds as blocks, tested against its own variance over seeds instead of a pooled one. It therefore does
not assume equal variances of all interactions.

Interactions depend on the scale of the metric: near an accuracy of 1, equal differences in log odds are smaller
differences in accuracy.

K contexts, S seeds.
"""

from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from experiments.study.study import Study
from reports.statistics.paired import paired_difference
from reports.wording.numbers import format_cell
from reports.wording.verdicts import EQUIVALENT, HARMS, IMPROVES, UNDECIDED, Comparison

from .cells import Outcomes, average_complete_seeds
from .contrasts import Contrast, judge_family, list_contrasts

HELPS_MORE, HELPS_LESS = "helps more", "helps less"
WORDS = {IMPROVES: HELPS_MORE, HARMS: HELPS_LESS, EQUIVALENT: EQUIVALENT, UNDECIDED: UNDECIDED}
COLUMNS = (
    *("factor_a", "factor_b", "level_a", "reference_a", "level_b", "reference_b", "metric", "n"),
    *("mean_difference", "ci_low", "ci_high", "p_value", "p_adjusted", "verdict", "sentence"),
    *("sd_difference", "mde", "num_seeds_left_out", "num_contexts", "num_comparisons"),
)


def interaction_table(study: Study, outcomes: Outcomes) -> pd.DataFrame:
    """Return one row per interaction of two levels; empty for one factor, one seed, or a design that is not full.

    All rows are one Holm family.

    Columns:
        factor_a, factor_b, level_a, reference_a, level_b, reference_b: the two contrasts.
        metric, n: the metric and the number of complete seeds.
        mean_difference, ci_low, ci_high: level_a - reference_a under level_b minus the same under reference_b.
        p_value, p_adjusted: two-sided.
        verdict: helps more or helps less (level_a under level_b, in the direction of the metric's goal), equivalent
            (within the margin), or undecided.
        sentence: the verdict as a sentence.
        sd_difference, mde, num_seeds_left_out, num_contexts, num_comparisons: as in `contrast_table`.
    """
    pairs: list[tuple[Contrast, Contrast]] = []
    if study.design == "full" and len(study.seeds) > 1:
        contrasts = list_contrasts(study)
        of_factor = [[contrast for contrast in contrasts if contrast[0] == factor.name] for factor in study.factors]
        pairs = [pair for first, second in combinations(of_factor, 2) for pair in product(first, second)]
    grid = _Grid(outcomes)
    table = judge_family([estimate_interaction(outcomes, one, other, grid) for one, other in pairs], study.metric)
    table["verdict"] = table["verdict"].map(WORDS)
    for side, name in enumerate("ab"):
        for part, column in enumerate(("factor", "level", "reference")):
            table[f"{column}_{name}"] = pd.Series([pair[side][part] for pair in pairs], dtype="str")
    return table[list(COLUMNS)]


class _Grid:
    """Array of cells with one axis per factor, so that the cells of a level are a slice."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.levels = [
            list(dict.fromkeys(cell[axis] for cell in outcomes.cells)) for axis in range(len(outcomes.factors))
        ]
        self.rows = np.full([len(names) for names in self.levels], -1)  # -1 where the design has no cell
        codes = [{name: code for code, name in enumerate(names)} for names in self.levels]
        for row, cell in enumerate(outcomes.cells):
            self.rows[tuple(codes[axis][name] for axis, name in enumerate(cell))] = row

    def rows_with(self, first: tuple[int, str], second: tuple[int, str]) -> np.ndarray:
        """Return the rows of the cells with two levels (axis, name), one per context; -1 if the design lacks a cell."""
        shape = [size for axis, size in enumerate(self.rows.shape) if axis not in {first[0], second[0]}]
        if any(name not in self.levels[axis] for axis, name in (first, second)):
            return np.full(int(np.prod(shape)), -1)
        index: list[Any] = [slice(None)] * self.rows.ndim
        for axis, name in (first, second):
            index[axis] = self.levels[axis].index(name)
        return np.asarray(self.rows[tuple(index)]).reshape(-1)


def estimate_interaction(outcomes: Outcomes, one: Contrast, other: Contrast, grid: _Grid | None = None) -> Comparison:
    """Compare contrast `one` under the level of contrast `other` with the same under its reference.

    Args:
        outcomes: the metric on the grid.
        one: (factor, level, reference).
        other: the same for another factor.
        grid: the grid of these outcomes, to share it between calls.
    """
    grid = grid or _Grid(outcomes)
    (factor_a, level_a, reference_a), (factor_b, level_b, reference_b) = one, other
    axis_a, axis_b = outcomes.factors.index(factor_a), outcomes.factors.index(factor_b)
    rows = np.stack(
        [
            grid.rows_with((axis_a, level), (axis_b, under))
            for level, under in (
                *((level_a, level_b), (reference_a, reference_b)),
                *((reference_a, level_b), (level_a, reference_b)),
            )
        ]
    )
    rows = rows[:, (rows >= 0).all(axis=0)]  # (4, K)
    means, num_seeds_left_out, missing = average_complete_seeds(outcomes, rows)
    return Comparison(
        factor=f"{factor_a} × {factor_b}",
        level=level_a,
        reference=reference_a,
        context="",
        num_contexts=rows.shape[1],
        # A difference of two sums, so that the rounding error is estimated from the size of the values.
        difference=paired_difference(means[0] + means[1], means[2] + means[3], overlap=outcomes.overlap),
        num_seeds_left_out=num_seeds_left_out,
        missing=missing,
        unit=outcomes.unit,
        under=(format_cell({factor_b: level_b}), format_cell({factor_b: reference_b})),
    )

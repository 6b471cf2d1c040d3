"""What each cell of a study came to: its values by seed, its mean, and what is missing.

C cells of the design, S seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from experiments.study.design import cells_of
from experiments.study.study import Study
from experiments.trials.trial import TrialStatus
from reports.statistics.paired import fold_overlap, mean_interval

from .frame import name_metric_column

NO_VALUE = "no value"  # finished, and yet the metric is missing, NaN or infinite
MISSING = (
    TrialStatus.DIVERGED,
    TrialStatus.FAILED,
    TrialStatus.PENDING,
    NO_VALUE,
)  # why a seed of a cell has no value; running counts as pending


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """A study's metric on its grid.

    factors: the names, in the order of the file.
    cells: C tuples of level names, one a factor, in the order of the design.
    seeds: S seeds.
    scores: (C, S), the final value of the metric; NaN where the trial has none that can be used.
    states: (C, S), `finished` where there is a value, else one of MISSING.
    folds: K, where a seed is a fold of a K-fold cross-validation; None where seeds are independent.
    """

    factors: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    scores: NDArray[np.float64]
    states: NDArray[np.str_]
    folds: int | None = None

    @property
    def overlap(self) -> float:
        """See `fold_overlap`."""
        return fold_overlap(self.folds)

    @property
    def unit(self) -> str:
        """What a column is, as a noun."""
        return "seed" if self.folds is None else "fold"


def collect_outcomes(study: Study, trials: pd.DataFrame) -> Outcomes:
    """The study's metric in `load_trials`' frame, on the grid of the design. The order of the rows does not matter."""
    factors = tuple(factor.name for factor in study.factors)
    cells = tuple(tuple(cell.levels[name] for name in factors) for cell in cells_of(study))
    at = locate_on_grid(study, cells, trials)
    metric = name_metric_column(study, study.metric.name)
    scores = np.full((len(cells), len(study.seeds)), np.nan)
    scores[at] = trials[metric].to_numpy(dtype=np.float64) if metric in trials else np.nan
    states = np.full(scores.shape, TrialStatus.PENDING, dtype=f"<U{max(map(len, (*TrialStatus, NO_VALUE)))}")
    states[at] = trials["status"].to_numpy(dtype=states.dtype)
    states[states == TrialStatus.RUNNING] = TrialStatus.PENDING
    states[(states == TrialStatus.FINISHED) & ~np.isfinite(scores)] = NO_VALUE
    scores[states != TrialStatus.FINISHED] = np.nan
    return Outcomes(factors=factors, cells=cells, seeds=study.seeds, scores=scores, states=states, folds=study.folds)


def locate_on_grid(
    study: Study, cells: Sequence[tuple[str, ...]], frame: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The row (its cell) and the column (its seed) of each row of a frame on the grid (C, S) of a study."""
    sizes = [len(factor.levels) for factor in study.factors]
    row_of = np.full(math.prod(sizes), -1, dtype=np.int64)
    for row, cell in enumerate(cells):
        codes = [factor.level_names.index(level) for factor, level in zip(study.factors, cell, strict=True)]
        row_of[np.ravel_multi_index(codes, sizes)] = row
    of_frame = [
        pd.Categorical(frame[factor.name], categories=list(factor.level_names)).codes.astype(np.int64)
        for factor in study.factors
    ]
    columns = frame["seed"].map({seed: column for column, seed in enumerate(study.seeds)})
    return row_of[np.ravel_multi_index(of_frame, sizes)], columns.to_numpy().astype(np.int64)


def average_complete_seeds(outcomes: Outcomes, groups: ArrayLike) -> tuple[NDArray[np.float64], int, dict[str, int]]:
    """The mean of groups of cells in each seed that has a value in all of them, and what the other seeds miss.

    Arguments:
        outcomes: the metric on its grid.
        groups: (G, K), rows of the grid.

    Returns:
        means (G, complete seeds); how many seeds are left out; how many of their trials are missing, by reason.
    """
    rows = np.array(groups, dtype=np.int64)
    states = outcomes.states[rows.reshape(-1)]  # (G K, S)
    if not rows.size:
        return np.zeros((len(rows), 0)), 0, count_missing(states)
    is_complete = (states == TrialStatus.FINISHED).all(axis=0)  # (S,)
    means = outcomes.scores[rows][:, :, is_complete].mean(axis=1)
    return means, int(np.count_nonzero(~is_complete)), count_missing(states)


def cell_table(outcomes: Outcomes) -> pd.DataFrame:
    """One row a cell, indexed by its levels.

    Columns: n (trials with a value), planned, mean, sd, ci_low, ci_high (95 % t interval over seeds, corrected where
    these are folds), diverged, failed, pending, no_value (finished, but the metric is not a finite number), complete
    (all planned trials have a value).
    """
    rows: list[dict[str, Any]] = []
    for scores, states in zip(outcomes.scores, outcomes.states, strict=True):
        found = mean_interval(scores[states == TrialStatus.FINISHED], overlap=outcomes.overlap)
        missing = count_missing(states)
        rows.append(
            {
                "n": found.n,
                "planned": len(states),
                "mean": found.mean,
                "sd": found.sd,
                "ci_low": found.ci_low,
                "ci_high": found.ci_high,
                **{reason.replace(" ", "_"): number for reason, number in missing.items()},
                "complete": found.n == len(states),
            }
        )
    # An index, because a factor may well be called `n`.
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(outcomes.cells, names=outcomes.factors))


def count_missing(states: NDArray[np.str_]) -> dict[str, int]:
    """How many of these states are which of MISSING; any shape."""
    return {reason: int(np.count_nonzero(states == reason)) for reason in MISSING}

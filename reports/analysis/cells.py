"""The study's metric by cell and seed: means, intervals and missing values.

C cells of the design, S seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from experiments.study.design import build_cells
from experiments.study.study import Study
from experiments.trials.trial import TrialStatus
from reports.statistics.paired import fold_overlap, mean_interval

from .frame import name_metric_column

NO_VALUE = "no value"  # finished, but the metric is missing, NaN or infinite
MISSING = (
    TrialStatus.DIVERGED,
    TrialStatus.FAILED,
    TrialStatus.PENDING,
    NO_VALUE,
)  # reasons why a trial has no value; running counts as pending


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """A metric on the grid of cells and seeds.

    factors: names of the factors, in the order of the study file.
    cells: C tuples with the name of a level per factor, in the order of the design.
    seeds: S seeds.
    scores: (C, S), the final value of the metric; NaN if the trial has no finite value.
    states: (C, S), `finished` for trials with a value, otherwise one of MISSING.
    folds: K if each seed is a fold of a K-fold cross-validation; None if seeds are independent.
    """

    factors: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    seeds: tuple[int, ...]
    scores: NDArray[np.float64]
    states: NDArray[np.str_]
    folds: int | None = None

    @property
    def overlap(self) -> float:
        """Return test over training examples of a fold, see `fold_overlap`."""
        return fold_overlap(self.folds)

    @property
    def unit(self) -> str:
        """Return what the columns are: "seed" or "fold"."""
        return "seed" if self.folds is None else "fold"


def collect_outcomes(study: Study, trials: pd.DataFrame) -> Outcomes:
    """Arrange the study's metric in the frame of `load_trials` on the grid. The order of the rows does not matter."""
    factors = tuple(factor.name for factor in study.factors)
    cells = tuple(tuple(cell.levels[name] for name in factors) for cell in build_cells(study))
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
    """Return for each row of a frame its position on the grid (C, S): the index of its cell and of its seed."""
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
    """Average groups of cells within each complete seed, that is, each seed with a value in all cells of all groups.

    Args:
        outcomes: the metric on the grid.
        groups: (G, K), G groups of K rows of the grid.

    Returns:
        means (G, complete seeds), the number of seeds left out, and the number of missing trials by reason.
    """
    rows = np.array(groups, dtype=np.int64)
    states = outcomes.states[rows.reshape(-1)]  # (G K, S)
    if not rows.size:
        return np.zeros((len(rows), 0)), 0, count_missing(states)
    is_complete = (states == TrialStatus.FINISHED).all(axis=0)  # (S,)
    means = outcomes.scores[rows][:, :, is_complete].mean(axis=1)
    return means, int(np.count_nonzero(~is_complete)), count_missing(states)


def cell_table(outcomes: Outcomes) -> pd.DataFrame:
    """Return one row per cell, indexed by its levels.

    Columns: n (trials with a value), planned, mean, sd, ci_low, ci_high (95 % t interval over seeds, corrected if they
    are folds), diverged, failed, pending, no_value (finished, but the metric is not a finite number), complete (all
    planned trials have a value).
    """
    rows: list[dict[str, Any]] = []
    for scores, states in zip(outcomes.scores, outcomes.states, strict=True):
        interval = mean_interval(scores[states == TrialStatus.FINISHED], overlap=outcomes.overlap)
        missing = count_missing(states)
        rows.append(
            {
                "n": interval.n,
                "planned": len(states),
                "mean": interval.mean,
                "sd": interval.sd,
                "ci_low": interval.ci_low,
                "ci_high": interval.ci_high,
                **{reason.replace(" ", "_"): number for reason, number in missing.items()},
                "complete": interval.n == len(states),
            }
        )
    # The levels are the index because a factor may be called `n`.
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(outcomes.cells, names=outcomes.factors))


def count_missing(states: NDArray[np.str_]) -> dict[str, int]:
    """Count the states (any shape) of each reason in MISSING."""
    return {reason: int(np.count_nonzero(states == reason)) for reason in MISSING}

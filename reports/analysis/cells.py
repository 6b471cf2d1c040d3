"""What each cell of a study came to: its values by seed, its mean, and what is missing.

C cells of the design, S seeds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.study.design import cells_of
from experiments.study.study import Study
from experiments.trials.trial import TrialStatus
from reports.statistics.paired import mean_interval

from .frame import metric_column

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
        """Test over training examples of a fold, 1 / (K - 1); 0 where seeds are independent."""
        return 0.0 if self.folds is None else 1 / (self.folds - 1)


def outcomes_of(study: Study, trials: pd.DataFrame) -> Outcomes:
    """The study's metric in `load_trials`' frame, on the grid of the design. The order of the rows does not matter."""
    factors = tuple(factor.name for factor in study.factors)
    rows = list(zip(*(trials[name].tolist() for name in factors), strict=True))
    cells = tuple(tuple(cell.levels[name] for name in factors) for cell in cells_of(study))
    place = {cell: number for number, cell in enumerate(cells)}
    column = {seed: number for number, seed in enumerate(study.seeds)}
    at = (
        np.fromiter((place[row] for row in rows), dtype=np.int64, count=len(rows)),
        np.fromiter((column[seed] for seed in trials["seed"].tolist()), dtype=np.int64, count=len(rows)),
    )
    metric = metric_column(study, study.metric.name)
    scores = np.full((len(cells), len(study.seeds)), np.nan)
    scores[at] = trials[metric].to_numpy(dtype=np.float64) if metric in trials else np.nan
    states = np.full(scores.shape, TrialStatus.PENDING, dtype=f"<U{max(map(len, (*TrialStatus, NO_VALUE)))}")
    states[at] = trials["status"].to_numpy(dtype=states.dtype)
    states[states == TrialStatus.RUNNING] = TrialStatus.PENDING
    states[(states == TrialStatus.FINISHED) & ~np.isfinite(scores)] = NO_VALUE
    scores[states != TrialStatus.FINISHED] = np.nan
    return Outcomes(factors=factors, cells=cells, seeds=study.seeds, scores=scores, states=states, folds=study.folds)


def cell_table(outcomes: Outcomes) -> pd.DataFrame:
    """One row a cell, indexed by its levels.

    Columns: n (trials with a value), planned, mean, sd, ci_low, ci_high (95 % t interval over seeds, corrected where
    these are folds), diverged, failed, pending, no_value (finished, but the metric is not a finite number), complete
    (all planned trials have a value).
    """
    rows: list[dict[str, Any]] = []
    for scores, states in zip(outcomes.scores, outcomes.states, strict=True):
        found = mean_interval(scores[states == TrialStatus.FINISHED], overlap=outcomes.overlap)
        missing = missing_counts(states)
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


def missing_counts(states: NDArray[np.str_]) -> dict[str, int]:
    """How many of these states are which of MISSING; any shape."""
    return {reason: int(np.count_nonzero(states == reason)) for reason in MISSING}

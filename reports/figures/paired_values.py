"""Values behind a contrast: the metric of two levels for each seed."""

import numpy as np
from numpy.typing import NDArray

from experiments.trials.trial import TrialStatus
from reports.analysis.cells import Outcomes


def average_levels(outcomes: Outcomes, levels: dict[str, str]) -> NDArray[np.float64]:
    """Return the mean over the cells with these levels, (seeds,); NaN for a seed if one of the cells has no value."""
    wanted = {outcomes.factors.index(factor): level for factor, level in levels.items()}
    rows = [
        row for row, cell in enumerate(outcomes.cells) if all(cell[index] == level for index, level in wanted.items())
    ]
    if not rows:
        return np.full(len(outcomes.seeds), np.nan)
    return np.where(
        (outcomes.states[rows] == TrialStatus.FINISHED).all(axis=0), outcomes.scores[rows].mean(axis=0), np.nan
    )


def pair_values(outcomes: Outcomes, factor: str, level: str, reference: str) -> NDArray[np.float64]:
    """Return the metric of the reference and of the level, (2, complete seeds), averaged over contexts with both."""
    index = outcomes.factors.index(factor)
    rows: dict[str, dict[tuple[str, ...], int]] = {reference: {}, level: {}}
    for row, cell in enumerate(outcomes.cells):
        if cell[index] in rows:
            rows[cell[index]][cell[:index] + cell[index + 1 :]] = row
    contexts = [context for context in rows[level] if context in rows[reference]]
    if not contexts:
        return np.zeros((2, 0))
    chosen = [[rows[name][context] for context in contexts] for name in (reference, level)]
    is_complete = (outcomes.states[chosen] == TrialStatus.FINISHED).all(axis=(0, 1))
    values: NDArray[np.float64] = outcomes.scores[chosen].mean(axis=1)[:, is_complete]
    return values

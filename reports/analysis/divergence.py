"""How often training diverges in each cell, with an interval: an outcome that no mean of a metric shows."""

from typing import Any

import numpy as np
import pandas as pd

from experiments.trials.trial import TrialStatus
from reports.statistics.rates import wilson_interval

from .cells import NO_VALUE, Outcomes

NUMBERS = ("n", "diverged", "failed", "rate", "rate_low", "rate_high")


def outcome_rate_table(outcomes: Outcomes) -> pd.DataFrame:
    """One row a cell.

    Columns: the factors (one that is called like another column has " (factor)" appended); n, the trials that trained
    to their end or diverged; diverged; failed, which is the fault of a machine or a program and counts in no rate;
    rate, diverged / n; rate_low, rate_high, its 95 % Wilson interval, NaN where no trial has ended. Folds are taken as
    independent.
    """
    rows: list[dict[str, Any]] = []
    columns = name_factor_columns(outcomes, NUMBERS)
    for cell, states in zip(outcomes.cells, outcomes.states, strict=True):
        diverged = int(np.count_nonzero(states == TrialStatus.DIVERGED))
        n = diverged + int(np.count_nonzero((states == TrialStatus.FINISHED) | (states == NO_VALUE)))
        low, high = wilson_interval(diverged, n)
        rows.append(
            {
                **dict(zip(columns, cell, strict=True)),
                "n": n,
                "diverged": diverged,
                "failed": int(np.count_nonzero(states == TrialStatus.FAILED)),
                "rate": diverged / n if n else np.nan,
                "rate_low": low,
                "rate_high": high,
            }
        )
    return pd.DataFrame(rows, columns=[*columns, *NUMBERS])


def name_factor_columns(outcomes: Outcomes, taken: tuple[str, ...]) -> list[str]:
    """The columns of the factors in a frame that has these other columns."""
    return [f"{name} (factor)" if name in taken else name for name in outcomes.factors]

"""Rate of diverged trials per cell, with an interval; means of the metric do not show divergence."""

from typing import Any

import numpy as np
import pandas as pd

from experiments.trials.trial import TrialStatus
from reports.statistics.rates import wilson_interval

from .cells import NO_VALUE, Outcomes

NUMBERS = ("n", "diverged", "failed", "rate", "rate_low", "rate_high")


def outcome_rate_table(outcomes: Outcomes) -> pd.DataFrame:
    """Return one row per cell.

    Columns: the factors (with " (factor)" appended to a name that another column has); n, the trials that finished or
    diverged; diverged; failed, trials that an error of a program or machine ended, which count in no rate; rate,
    diverged / n; rate_low and rate_high, its 95 % Wilson interval, NaN for n = 0. Folds are treated as independent.
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
    """Return the names of the factors' columns in a frame whose other columns are `taken`."""
    return [f"{name} (factor)" if name in taken else name for name in outcomes.factors]

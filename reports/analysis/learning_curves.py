"""Paired differences of learning curves by epoch, and the number of epochs until a threshold is reached.

C cells, S seeds, E epochs.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.study.study import Study
from experiments.trials.trial import TrialStatus
from reports.statistics.paired import CONFIDENCE
from reports.wording.method import VALIDATION

from .cells import Outcomes, locate_on_grid
from .contrasts import list_contrasts, pair_contexts
from .divergence import name_factor_columns
from .frame import name_metric_column

SPLITS = (*VALIDATION, "train")
LOSS = "loss"
THRESHOLD_SHARE = 0.95
CURVE_DIFFERENCE_COLUMNS = (
    "factor",
    "level",
    "reference",
    "metric",
    "epoch",
    "n",
    "mean_difference",
    "ci_low",
    "ci_high",
)
THRESHOLD_COLUMNS = ("metric", "threshold", "n", "reached", "median_epoch")


def list_curve_metrics(study: Study, curves: pd.DataFrame) -> list[tuple[str, str]]:
    """List the metrics with learning curves as (name, goal), the study's metric first.

    They are the study's metric on the validation and training splits, with the study's goal, and the losses, to be
    minimised, as far as they are logged.
    """
    name, goal = study.metric.name, study.metric.goal
    base = name.rpartition("/")[2]
    wanted = dict.fromkeys((name, *(f"{split}/{base}" for split in SPLITS)), goal)
    for split in SPLITS:
        wanted.setdefault(f"{split}/{LOSS}", "min")
    return [(name, goal) for name, goal in wanted.items() if name_metric_column(study, name) in curves]


def curve_difference_table(study: Study, outcomes: Outcomes, curves: pd.DataFrame) -> pd.DataFrame:
    """Return the paired difference of each main effect by metric and epoch, with its 95 % t interval.

    A seed is complete in an epoch if all its trials of the contrast finished and logged a finite value in that epoch.
    All epochs of a contrast use the same seeds, those that are complete in its first epoch. An epoch in which one of
    them is incomplete, for example after early stopping, is left out. The intervals are pointwise, and there are no
    p-values. Empty for one seed.

    Columns: factor, level, reference, metric, epoch (from 0), n (seeds), mean_difference, ci_low, ci_high (NaN for
    fewer than two seeds, and if all differences are equal and not 0).
    """
    frames = []
    for metric, _ in list_curve_metrics(study, curves) if len(study.seeds) > 1 else []:
        values = _arrange(study, outcomes, curves, metric)
        values[outcomes.states != TrialStatus.FINISHED] = np.nan
        for factor, level, reference in list_contrasts(study):
            pairs = pair_contexts(outcomes, factor, level, reference)
            if not pairs:
                continue
            at_level, at_reference = (list(rows) for rows in zip(*pairs.values(), strict=True))
            rows = _average_epochs(values[at_level].mean(axis=0) - values[at_reference].mean(axis=0), outcomes.overlap)
            frames.append(rows.assign(factor=factor, level=level, reference=reference, metric=metric))
    return (
        pd.concat(frames, ignore_index=True)[list(CURVE_DIFFERENCE_COLUMNS)]
        if frames
        else _empty(CURVE_DIFFERENCE_COLUMNS, 4)
    )


def threshold_table(study: Study, outcomes: Outcomes, curves: pd.DataFrame) -> pd.DataFrame:
    """Return for each cell and metric how many trials reached the threshold, and the median epoch of reaching it.

    The threshold is 95 % of the way from the mean of all trials in their first epoch to the best cell's mean in its
    last epoch. A metric that improves in no cell is left out. Trials that finished or diverged count. A trial that ends
    below the threshold is censored, so the median is the first epoch by which half of the trials have reached it
    (Kaplan-Meier with all censoring at the end), and NaN if fewer do. Epochs count from 0.

    Columns: the factors (as in `outcome_rates`), metric, threshold, n, reached, median_epoch.
    """
    columns = name_factor_columns(outcomes, THRESHOLD_COLUMNS)
    rows: list[dict[str, Any]] = []
    has_ended = (outcomes.states == TrialStatus.FINISHED) | (outcomes.states == TrialStatus.DIVERGED)
    for metric, goal in list_curve_metrics(study, curves):
        values = _arrange(study, outcomes, curves, metric)
        values[~has_ended] = np.nan
        threshold = _find_threshold(values, outcomes.states == TrialStatus.FINISHED, goal)
        if math.isnan(threshold):
            continue
        reached = values >= threshold if goal == "max" else values <= threshold  # (C, S, E); NaN reaches nothing
        first = np.where(reached.any(axis=2), reached.argmax(axis=2), np.inf)
        for cell, epochs, is_counted in zip(outcomes.cells, first, has_ended, strict=True):
            n = int(np.count_nonzero(is_counted))
            median = float(np.sort(epochs[is_counted])[(n - 1) // 2]) if n else math.inf
            rows.append(
                {
                    **dict(zip(columns, cell, strict=True)),
                    "metric": metric,
                    "threshold": threshold,
                    "n": n,
                    "reached": int(np.count_nonzero(np.isfinite(epochs[is_counted]))),
                    "median_epoch": median if math.isfinite(median) else math.nan,
                }
            )
    names = (*columns, *THRESHOLD_COLUMNS)
    return pd.DataFrame(rows, columns=list(names)) if rows else _empty(names, len(columns) + 1)


def _arrange(study: Study, outcomes: Outcomes, curves: pd.DataFrame, metric: str) -> NDArray[np.float64]:
    """Arrange the curves of a metric as (C, S, E), NaN in epochs without a finite value."""
    cells, seeds = locate_on_grid(study, outcomes.cells, curves)
    epochs = curves["epoch"].to_numpy(dtype=np.int64)
    values = np.full((len(outcomes.cells), len(outcomes.seeds), int(epochs.max(initial=-1)) + 1), np.nan)
    values[cells, seeds, epochs] = curves[name_metric_column(study, metric)].to_numpy(dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    return values


def _average_epochs(differences: NDArray[np.float64], overlap: float) -> pd.DataFrame:
    """Return the rows of one contrast and metric from its differences (S, E), see `curve_difference_table`."""
    from scipy.special import stdtrit

    is_there = np.isfinite(differences)
    some = np.flatnonzero(is_there.any(axis=0))
    seeds = is_there[:, some[0]] if len(some) else np.zeros(len(differences), dtype=bool)
    epochs = some[is_there[np.ix_(seeds, some)].all(axis=0)]
    values = differences[np.ix_(seeds, epochs)]
    n = int(np.count_nonzero(seeds))
    mean = values.sum(axis=0) / max(n, 1)
    squares = ((values - mean) ** 2).sum(axis=0)
    freedom = max(n - 1, 1)
    half = stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(squares / freedom * (1 / max(n, 1) + overlap))
    half = np.where((n < 2) | ((squares == 0) & (mean != 0)), np.nan, half)  # noqa: PLR2004 -- a standard deviation needs two
    return pd.DataFrame(
        {"epoch": epochs, "n": n, "mean_difference": mean, "ci_low": mean - half, "ci_high": mean + half}
    )


def _find_threshold(values: NDArray[np.float64], is_finished: NDArray[np.bool_], goal: str) -> float:
    """Return the threshold of `threshold_table`; NaN if no cell improves or nothing was logged."""
    is_there = np.isfinite(values)
    has_any = is_there.any(axis=2)
    if not (has_any & is_finished).any():
        return math.nan
    first = np.take_along_axis(values, is_there.argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    last_epoch = values.shape[2] - 1 - is_there[:, :, ::-1].argmax(axis=2)
    last = np.take_along_axis(values, last_epoch[:, :, None], axis=2)[:, :, 0]
    start = float(first[has_any].mean())
    ends = [float(cell[kept].mean()) for cell, kept in zip(last, has_any & is_finished, strict=True) if kept.any()]
    best = max(ends) if goal == "max" else min(ends)
    is_better = best > start if goal == "max" else best < start
    return start + THRESHOLD_SHARE * (best - start) if is_better else math.nan


def _empty(columns: tuple[str, ...], num_texts: int) -> pd.DataFrame:
    types = {name: "object" if column < num_texts else "float64" for column, name in enumerate(columns)}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})

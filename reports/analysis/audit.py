"""Whether the design supports what a reader will conclude: what was varied, what is missing, what else differs."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from experiments.study.config_keys import apply_changes
from experiments.study.study import Study, format_value
from experiments.text import listed
from experiments.trials.trial import TrialStatus
from reports.wording.numbers import format_count, format_counts

from .cells import Outcomes, count_missing, locate_on_grid
from .contrasts import list_contrasts, pair_contexts

_RATES = ("lr", "learning_rate")
_MOST_NAMED = 5  # contrasts in a finding, before the rest is counted


def audit_table(study: Study, outcomes: Outcomes, trials: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """One row an item: item, finding. Both are texts; a finding that warns begins with "Careful: "."""
    rows = {
        "Design": _design(study, outcomes),
        "Cells": _cells(outcomes),
        "Seeds" if study.folds is None else "Folds": _seeds(study, outcomes),
        "Failed and diverged": _ended(outcomes),
        "What a seed controls": _controls(study),
        "Epochs": _parity(study, outcomes, _epochs(outcomes, study, curves), "epoch", "epochs"),
        "Parameters": _parity(
            study, outcomes, _by_trial(outcomes, study, trials, "num_parameters"), "parameter", "parameters"
        ),
        "Time": _seconds(_by_trial(outcomes, study, trials, "seconds")),
        "Learning rate": _learning_rate(study),
        "Trained by": _backends(trials),
    }
    return pd.DataFrame({"item": list(rows), "finding": list(rows.values())}, dtype="object")


def _design(study: Study, outcomes: Outcomes) -> str:
    num_cells = format_count(len(outcomes.cells), "cell")
    if len(study.factors) == 1:
        return f"one factor: {num_cells}; there is nothing it could interact with"
    if study.design != "full":
        return f"one at a time from the reference of each factor: {num_cells}; interactions are not estimable"
    if study.exclude:
        return f"full factorial with excluded cells: {num_cells}; an effect uses the contexts that have all its cells"
    return f"full factorial: {num_cells}; main effects, simple effects and interactions are estimable"


def _cells(outcomes: Outcomes) -> str:
    is_complete = (outcomes.states == TrialStatus.FINISHED).all(axis=1)
    num_complete = int(np.count_nonzero(is_complete))
    if num_complete == len(is_complete):
        return f"all {len(is_complete)} complete, so every contrast is balanced"
    return (
        f"Careful: {num_complete} of {len(is_complete)} complete; a contrast leaves out each seed that misses a trial, "
        "so contrasts may rest on different seeds"
    )


def _seeds(study: Study, outcomes: Outcomes) -> str:
    counts = np.count_nonzero(outcomes.states == TrialStatus.FINISHED, axis=1)
    unit = study.unit
    found = (
        format_count(int(counts.min()), unit) if np.ptp(counts) == 0 else f"{counts.min()} to {counts.max()} {unit}s"
    )
    line = f"{len(study.seeds)} planned a cell, {found} with a value"
    return line if study.folds is None else f"{line}; folds share training examples, and intervals allow for it"


def _ended(outcomes: Outcomes) -> str:
    counts = {
        name: count
        for name, count in count_missing(outcomes.states).items()
        if name in {TrialStatus.FAILED, TrialStatus.DIVERGED}
    }
    if not any(counts.values()):
        return "none"
    return f"Careful: {format_counts(counts)} of {format_count(outcomes.states.size, 'trial')}; see the rates by cell"


def _controls(study: Study) -> str:
    line = (
        "initial values by the parameter's name, the order of the data, dropout and augmentation; the cells of a seed "
        "share them where they have the same parameters and data"
    )
    split = "which fold is left out" if study.folds is not None else "and, where the data module draws one, the split"
    return f"{line}; {split}"


def _by_trial(outcomes: Outcomes, study: Study, trials: pd.DataFrame, column: str) -> np.ndarray:
    """A column of the trials frame as (C, S), NaN where a trial has not finished."""
    values = np.full(outcomes.scores.shape, np.nan)
    if column in trials:
        numbers = trials[column].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        values[locate_on_grid(study, outcomes.cells, trials)] = np.where(
            trials["status"].to_numpy() == TrialStatus.FINISHED, numbers, np.nan
        )
    return values


def _epochs(outcomes: Outcomes, study: Study, curves: pd.DataFrame) -> np.ndarray:
    """How many epochs each trial logged, (C, S)."""
    last = curves.groupby("trial_id", sort=False)["epoch"].transform("max") == curves["epoch"]
    rows = curves[last]
    counted_epochs = rows.assign(num_epochs=rows["epoch"] + 1, status=TrialStatus.FINISHED)
    values = _by_trial(outcomes, study, counted_epochs, "num_epochs")
    values[outcomes.states != TrialStatus.FINISHED] = np.nan
    return values


def _parity(study: Study, outcomes: Outcomes, values: np.ndarray, noun: str, plural: str) -> str:
    """Whether all cells had the same amount of something, and which contrasts compare different amounts."""
    known = np.isfinite(values).any(axis=1)
    if not known.any():
        return "not recorded"
    means = np.full(len(values), np.nan)
    means[known] = [float(row[np.isfinite(row)].mean()) for row in values[known]]
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low == high:
        return f"{low:,.0f} {noun if low == 1 else plural} in every trial"
    line = f"{low:,.0f} to {high:,.0f} {plural} a trial"
    unequal = [
        f"{factor}: {level} - {reference}"
        for factor, level, reference in list_contrasts(study)
        if any(
            _differ(means[row], means[other])
            for row, other in pair_contexts(outcomes, factor, level, reference).values()
        )
    ]
    if not unequal:
        return line
    more = f" and {len(unequal) - _MOST_NAMED} more" if len(unequal) > _MOST_NAMED else ""
    return f"Careful: {line}; different numbers of {plural} are compared in {'; '.join(unequal[:_MOST_NAMED])}{more}"


def _differ(one: float, other: float) -> bool:
    return bool(np.isfinite(one) and np.isfinite(other) and one != other)


def _seconds(values: np.ndarray) -> str:
    known = values[np.isfinite(values).any(axis=1)]
    if not len(known):
        return "not recorded"
    means = [float(row[np.isfinite(row)].mean()) for row in known]
    total = float(np.nansum(values))
    return f"{min(means):,.3g} to {max(means):,.3g} s a trial by cell, {total:,.3g} s in all"


def _learning_rate(study: Study) -> str:
    base = dict(_rates(study.base))
    varied: list[str] = []
    replaced: list[str] = []
    for factor in study.factors:
        by_level = [dict(_rates(apply_changes(study.base, level.changes.items()))) for level in factor.levels]
        if any(rates != by_level[0] for rates in by_level[1:]):
            own = any(key.rpartition(".")[2] in _RATES for level in factor.levels for key in level.changes)
            (varied if own else replaced).append(factor.name)
    if varied:
        return f"varied by {listed(varied)}"
    if replaced:
        return f"Careful: differs between the levels of {listed(replaced)}, so these differ by more than their name"
    if not base:
        return "not set by the study: each model's own default"
    rates = listed(f"{key} = {format_value(value)}" for key, value in base.items())
    return (
        f"shared by all cells, not tuned for each: {rates}. A level may do better with another one; a factor of "
        "learning rates shows whether"
    )


def _rates(node: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """The learning rates of a configuration, by key."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            where = f"{path}.{key}" if path else str(key)
            if key in _RATES:
                yield where, value
            else:
                yield from _rates(value, where)


def _backends(trials: pd.DataFrame) -> str:
    counts = describe_backends(trials)
    if len(counts) > 1:
        return f"Careful: {' and '.join(counts)}; they are equal up to rounding, which training amplifies"
    return "".join(counts) or "nothing yet"


def describe_backends(trials: pd.DataFrame) -> list[str]:
    """How many trials each backend finished, in words."""
    counts = trials.loc[trials["status"] == TrialStatus.FINISHED, "backend"].value_counts().sort_index()
    return [f"{count} by {backend}" for backend, count in counts.items()]

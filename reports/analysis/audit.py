"""Audit of a design: what was varied, what is missing, and what else differs between the cells."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from experiments.study.config_keys import apply_changes
from experiments.study.study import Study, format_value
from experiments.text import join_names
from experiments.trials.trial import TrialStatus
from reports.wording.numbers import format_count, format_counts

from .cells import Outcomes, count_missing, locate_on_grid
from .contrasts import list_contrasts, pair_contexts

_RATES = ("lr", "learning_rate")
_MAX_NAMED = 5  # contrasts that a finding names; the others are counted


def audit_table(study: Study, outcomes: Outcomes, trials: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Return one row per item, with the texts item and finding; a finding that warns begins with "Careful: "."""
    rows = {
        "Design": _describe_design(study, outcomes),
        "Cells": _describe_cells(outcomes),
        "Seeds" if study.folds is None else "Folds": _describe_seeds(study, outcomes),
        "Failed and diverged": _describe_failures(outcomes),
        "What a seed controls": _describe_seed(study),
        "Epochs": _describe_balance(study, outcomes, _count_epochs(outcomes, study, curves), "epoch", "epochs"),
        "Parameters": _describe_balance(
            study, outcomes, _pivot_trials(outcomes, study, trials, "num_parameters"), "parameter", "parameters"
        ),
        "Time": _describe_durations(_pivot_trials(outcomes, study, trials, "seconds")),
        "Learning rate": _describe_learning_rate(study),
        "Trained by": _describe_backends(trials),
    }
    return pd.DataFrame({"item": list(rows), "finding": list(rows.values())}, dtype="object")


def _describe_design(study: Study, outcomes: Outcomes) -> str:
    num_cells = format_count(len(outcomes.cells), "cell")
    if len(study.factors) == 1:
        return f"one factor: {num_cells}; interactions need a second factor"
    if study.design != "full":
        return f"one factor at a time: {num_cells}; interactions cannot be estimated"
    if study.exclude:
        return f"full factorial with excluded cells: {num_cells}; an effect uses the contexts that have all its cells"
    return f"full factorial: {num_cells}; main effects, simple effects and interactions can be estimated"


def _describe_cells(outcomes: Outcomes) -> str:
    is_complete = (outcomes.states == TrialStatus.FINISHED).all(axis=1)
    num_complete = int(np.count_nonzero(is_complete))
    if num_complete == len(is_complete):
        return f"all {len(is_complete)} are complete, so every contrast is balanced"
    return (
        f"Careful: {num_complete} of {len(is_complete)} are complete; a contrast leaves out every seed with a missing "
        "trial, so contrasts may be based on different seeds"
    )


def _describe_seeds(study: Study, outcomes: Outcomes) -> str:
    counts = np.count_nonzero(outcomes.states == TrialStatus.FINISHED, axis=1)
    unit = study.unit
    with_value = (
        format_count(int(counts.min()), unit) if np.ptp(counts) == 0 else f"{counts.min()} to {counts.max()} {unit}s"
    )
    line = f"{len(study.seeds)} planned per cell, {with_value} with a value"
    return line if study.folds is None else f"{line}; folds share training examples, and intervals account for it"


def _describe_failures(outcomes: Outcomes) -> str:
    counts = {
        name: count
        for name, count in count_missing(outcomes.states).items()
        if name in {TrialStatus.FAILED, TrialStatus.DIVERGED}
    }
    if not any(counts.values()):
        return "none"
    return f"Careful: {format_counts(counts)} of {format_count(outcomes.states.size, 'trial')}; see the rates per cell"


def _describe_seed(study: Study) -> str:
    line = (
        "initial values (by parameter name), data order, dropout and augmentation; all cells share those of a seed as "
        "far as they have the same parameters and data"
    )
    split = "which fold is held out" if study.folds is not None else "and the split, if the data module draws one"
    return f"{line}; {split}"


def _pivot_trials(outcomes: Outcomes, study: Study, trials: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of the frame of trials as (C, S), NaN for trials that have not finished."""
    values = np.full(outcomes.scores.shape, np.nan)
    if column in trials:
        numbers = trials[column].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        values[locate_on_grid(study, outcomes.cells, trials)] = np.where(
            trials["status"].to_numpy() == TrialStatus.FINISHED, numbers, np.nan
        )
    return values


def _count_epochs(outcomes: Outcomes, study: Study, curves: pd.DataFrame) -> np.ndarray:
    """Count the epochs that each trial logged, (C, S)."""
    last = curves.groupby("trial_id", sort=False)["epoch"].transform("max") == curves["epoch"]
    rows = curves[last]
    counts = rows.assign(num_epochs=rows["epoch"] + 1, status=TrialStatus.FINISHED)
    values = _pivot_trials(outcomes, study, counts, "num_epochs")
    values[outcomes.states != TrialStatus.FINISHED] = np.nan
    return values


def _describe_balance(study: Study, outcomes: Outcomes, values: np.ndarray, noun: str, plural: str) -> str:
    """Describe whether all cells have the same number of something, and name contrasts that compare different ones."""
    known = np.isfinite(values).any(axis=1)
    if not known.any():
        return "not recorded"
    means = np.full(len(values), np.nan)
    means[known] = [float(row[np.isfinite(row)].mean()) for row in values[known]]
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low == high:
        return f"{low:,.0f} {noun if low == 1 else plural} in every trial"
    line = f"{low:,.0f} to {high:,.0f} {plural} per trial"
    unequal = [
        f"{factor}: {level} - {reference}"
        for factor, level, reference in list_contrasts(study)
        if any(
            _is_unequal(means[row], means[other])
            for row, other in pair_contexts(outcomes, factor, level, reference).values()
        )
    ]
    if not unequal:
        return line
    more = f" and {len(unequal) - _MAX_NAMED} more" if len(unequal) > _MAX_NAMED else ""
    return f"Careful: {line}; the number of {plural} differs in {'; '.join(unequal[:_MAX_NAMED])}{more}"


def _is_unequal(one: float, other: float) -> bool:
    return bool(np.isfinite(one) and np.isfinite(other) and one != other)


def _describe_durations(values: np.ndarray) -> str:
    known = values[np.isfinite(values).any(axis=1)]
    if not len(known):
        return "not recorded"
    means = [float(row[np.isfinite(row)].mean()) for row in known]
    total = float(np.nansum(values))
    return f"{min(means):,.3g} to {max(means):,.3g} s per trial (means of cells), {total:,.3g} s in total"


def _describe_learning_rate(study: Study) -> str:
    base = dict(_find_learning_rates(study.base))
    varied: list[str] = []
    replaced: list[str] = []
    for factor in study.factors:
        by_level = [
            dict(_find_learning_rates(apply_changes(study.base, level.changes.items()))) for level in factor.levels
        ]
        if any(rates != by_level[0] for rates in by_level[1:]):
            is_varied = any(key.rpartition(".")[2] in _RATES for level in factor.levels for key in level.changes)
            (varied if is_varied else replaced).append(factor.name)
    if varied:
        return f"varied by {join_names(varied)}"
    if replaced:
        return f"Careful: differs between the levels of {join_names(replaced)}, so they differ in more than their names"
    if not base:
        return "not set by the study: the default of each model"
    rates = join_names(f"{key} = {format_value(value)}" for key, value in base.items())
    return (
        f"the same for all cells, not tuned for each: {rates}. Another rate may suit a level better; a factor of "
        "learning rates shows whether it does"
    )


def _find_learning_rates(node: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the learning rates of a configuration with their keys."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            where = f"{path}.{key}" if path else str(key)
            if key in _RATES:
                yield where, value
            else:
                yield from _find_learning_rates(value, where)


def _describe_backends(trials: pd.DataFrame) -> str:
    counts = count_backends(trials)
    if len(counts) > 1:
        return f"Careful: {' and '.join(counts)}; they agree up to rounding errors, which training amplifies"
    return "".join(counts) or "no trial has finished"


def count_backends(trials: pd.DataFrame) -> list[str]:
    """Count the finished trials of each backend, as texts such as "20 by fused"."""
    counts = trials.loc[trials["status"] == TrialStatus.FINISHED, "backend"].value_counts().sort_index()
    return [f"{count} by {backend}" for backend, count in counts.items()]

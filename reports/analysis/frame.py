"""Tidy pandas frames of a ledger: one row per trial, and one row per epoch of a trial."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.ledger.ledger import Ledger
from experiments.ledger.study_folder import open_ledger
from experiments.study.parse import parse_study
from experiments.study.study import Study

from .layer_metrics import sort_metrics

_FIRST = (
    "trial_id",
    "seed",
    "status",
    "backend",
    "seconds",
    "epoch",
)  # no factor has these names; study_file sees to it
_LAST = ("num_parameters", "diverged_epoch", "attempts")


def load_trials(directory: str | Path) -> pd.DataFrame:
    """Load one row per planned trial, including pending ones, in the order of the plan (cells, then seeds).

    Columns: trial_id; one per factor (an ordered Categorical with the levels in the order of the study file); seed;
    status; backend; one per final metric, in alphabetical order, with metrics of layers in the order of data flow (NaN
    for trials without the metric); seconds; num_parameters; diverged_epoch; attempts. A metric with the name of another
    column is called "<name> (metric)".

    Args:
        directory: folder of the study, which holds ledger.sqlite.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
    """
    with open_ledger(directory) as ledger:
        return read_trials(ledger, read_study(ledger))


def load_curves(directory: str | Path) -> pd.DataFrame:
    """Load one row per epoch of each trial, with trials in the order of `load_trials`.

    Columns: trial_id, the factors, seed, epoch (from 0) and the metrics, NaN in epochs without a logged value. Trials
    without epochs have no row.

    Args:
        directory: folder of the study, which holds ledger.sqlite.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
    """
    with open_ledger(directory) as ledger:
        study = read_study(ledger)
        return read_curves(ledger, study, read_trials(ledger, study))


def load_plan(directory: str | Path) -> Study:
    """Load the study that was planned last in this folder.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
    """
    with open_ledger(directory) as ledger:
        return read_study(ledger)


def read_study(ledger: Ledger) -> Study:
    """Read the study from an open ledger."""
    return parse_study(ledger.study_content(), source=str(ledger.path))


def list_metric_names(ledger: Ledger) -> list[str]:
    """List the names of all final metrics in alphabetical order."""
    return sorted({name for _, name, _ in ledger.metrics()})


def name_metric_column(study: Study, metric: str) -> str:
    """Return a metric's column in the frames: its name, or "<name> (metric)" if another column has that name."""
    taken = {*_FIRST, *_LAST, *(factor.name for factor in study.factors)}
    return f"{metric} (metric)" if metric in taken else metric


def read_trials(ledger: Ledger, study: Study) -> pd.DataFrame:
    """Read the frame of `load_trials` from an open ledger."""
    rows = ledger.trials()
    columns: dict[str, Any] = {"trial_id": [row["trial_id"] for row in rows]}
    for factor in study.factors:
        codes = {level: code for code, level in enumerate(factor.level_names)}
        columns[factor.name] = pd.Categorical.from_codes(
            np.fromiter((codes[row["levels"][factor.name]] for row in rows), dtype=np.int32, count=len(rows)),
            categories=pd.Index(factor.level_names),
            ordered=True,
        )
    columns["seed"] = np.fromiter((row["seed"] for row in rows), dtype=np.int64, count=len(rows))
    columns["status"] = [row["status"] for row in rows]
    columns["backend"] = [row["backend"] for row in rows]
    columns |= _read_metrics(ledger, study, {trial_id: row for row, trial_id in enumerate(columns["trial_id"])})
    columns["seconds"] = np.array([row["seconds"] for row in rows], dtype=np.float64)
    for name in _LAST:
        values = pd.array([row[name] for row in rows], dtype="Int64")
        columns[f"{name} (trial)" if name in columns else name] = values
    return pd.DataFrame(columns)


def read_curves(ledger: Ledger, study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    """Read the frame of `load_curves` from an open ledger, given its frame of trials."""
    row_of = {trial_id: row for row, trial_id in enumerate(trials["trial_id"])}
    names: dict[str, int] = {}
    values = np.fromiter(
        (
            (row_of[trial_id], epoch, names.setdefault(name, len(names)), value)
            for trial_id, epoch, name, value in ledger.epochs()
            if trial_id in row_of  # a trial may be planned after `trials` was read
        ),
        dtype=[("trial", np.int64), ("epoch", np.int64), ("name", np.int32), ("value", np.float64)],
    )
    num_epochs = int(values["epoch"].max(initial=0)) + 1
    keys, rows = np.unique(values["trial"] * num_epochs + values["epoch"], return_inverse=True)
    trial, epoch = np.divmod(keys, num_epochs)
    known = ["trial_id", *(factor.name for factor in study.factors), "seed"]
    columns: dict[str, Any] = {name: trials[name].array.take(trial) for name in known}
    columns["epoch"] = epoch
    columns |= _pivot(ledger, study, names, (len(keys), len(names)), (rows, values["name"]), values["value"])
    return pd.DataFrame(columns)


def _read_metrics(ledger: Ledger, study: Study, row_of: Mapping[str, int]) -> dict[str, np.ndarray]:
    names: dict[str, int] = {}
    values = np.fromiter(
        (
            (row_of[trial_id], names.setdefault(name, len(names)), value)
            for trial_id, name, value in ledger.metrics()
            if trial_id in row_of
        ),
        dtype=[("trial", np.int64), ("name", np.int32), ("value", np.float64)],
    )
    return _pivot(ledger, study, names, (len(row_of), len(names)), (values["trial"], values["name"]), values["value"])


def _pivot(
    ledger: Ledger,
    study: Study,
    names: Mapping[str, int],
    shape: tuple[int, int],
    at: tuple[np.ndarray, np.ndarray],
    values: np.ndarray,
) -> dict[str, np.ndarray]:
    """Pivot values from long form to one column per metric, sorted by `sort_metrics`; missing values are NaN."""
    table = np.full(shape, np.nan)
    table[at] = values
    return {
        name_metric_column(study, name): table[:, names[name]] for name in sort_metrics(names, ledger.metric_orders())
    }

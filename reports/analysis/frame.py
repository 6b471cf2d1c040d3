"""A study's ledger as tidy pandas frames: one row a trial, and one row an epoch of a trial."""

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
    """One row a planned trial, pending ones included: cell by cell in the order of the plan, then by seed.

    Columns: trial_id; one a factor (an ordered Categorical, its levels in the order of the study file); seed; status;
    backend; one a final metric, in alphabetical order, those of layers as data flow (NaN where a trial has none);
    seconds; num_parameters; diverged_epoch; attempts. A metric with the name of another column is called
    "<name> (metric)".

    Arguments:
        directory: a study's folder, the one that holds ledger.sqlite.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
    """
    with open_ledger(directory) as ledger:
        return read_trials(ledger, read_study(ledger))


def load_curves(directory: str | Path) -> pd.DataFrame:
    """One row an epoch of a trial, in the order of `load_trials`. Columns: trial_id, the factors, seed, epoch, metrics.

    `epoch` counts from 0; a metric that was not logged in an epoch is NaN in it. Trials without epochs have no row.

    Arguments:
        directory: a study's folder, the one that holds ledger.sqlite.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
    """
    with open_ledger(directory) as ledger:
        study = read_study(ledger)
        return read_curves(ledger, study, read_trials(ledger, study))


def load_plan(directory: str | Path) -> Study:
    """The study as it was planned last in this folder.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
    """
    with open_ledger(directory) as ledger:
        return read_study(ledger)


def read_study(ledger: Ledger) -> Study:
    """The study of an open ledger."""
    return parse_study(ledger.study_content(), source=str(ledger.path))


def list_metric_names(ledger: Ledger) -> list[str]:
    """The names of all final metrics, in alphabetical order."""
    return sorted({name for _, name, _ in ledger.metrics()})


def name_metric_column(study: Study, metric: str) -> str:
    """The column of a metric in the frames: its name, unless another column has it."""
    taken = {*_FIRST, *_LAST, *(factor.name for factor in study.factors)}
    return f"{metric} (metric)" if metric in taken else metric


def read_trials(ledger: Ledger, study: Study) -> pd.DataFrame:
    """`load_trials` for an open ledger."""
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
    columns |= _metrics(ledger, study, {trial_id: place for place, trial_id in enumerate(columns["trial_id"])})
    columns["seconds"] = np.array([row["seconds"] for row in rows], dtype=np.float64)
    for name in _LAST:
        values = pd.array([row[name] for row in rows], dtype="Int64")
        columns[f"{name} (trial)" if name in columns else name] = values
    return pd.DataFrame(columns)


def read_curves(ledger: Ledger, study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    """`load_curves` for an open ledger and its trials frame."""
    places = {trial_id: place for place, trial_id in enumerate(trials["trial_id"])}
    names: dict[str, int] = {}
    values = np.fromiter(
        (
            (places[trial_id], epoch, names.setdefault(name, len(names)), value)
            for trial_id, epoch, name, value in ledger.epochs()
            if trial_id in places  # not, when it was planned after `trials` was read
        ),
        dtype=[("place", np.int64), ("epoch", np.int64), ("name", np.int32), ("value", np.float64)],
    )
    num_epochs = int(values["epoch"].max(initial=0)) + 1
    keys, rows = np.unique(values["place"] * num_epochs + values["epoch"], return_inverse=True)
    place, epoch = np.divmod(keys, num_epochs)
    known = ["trial_id", *(factor.name for factor in study.factors), "seed"]
    columns: dict[str, Any] = {name: trials[name].array.take(place) for name in known}
    columns["epoch"] = epoch
    columns |= _wide(ledger, study, names, (len(keys), len(names)), (rows, values["name"]), values["value"])
    return pd.DataFrame(columns)


def _metrics(ledger: Ledger, study: Study, places: Mapping[str, int]) -> dict[str, np.ndarray]:
    names: dict[str, int] = {}
    values = np.fromiter(
        (
            (places[trial_id], names.setdefault(name, len(names)), value)
            for trial_id, name, value in ledger.metrics()
            if trial_id in places
        ),
        dtype=[("place", np.int64), ("name", np.int32), ("value", np.float64)],
    )
    return _wide(ledger, study, names, (len(places), len(names)), (values["place"], values["name"]), values["value"])


def _wide(
    ledger: Ledger,
    study: Study,
    names: Mapping[str, int],
    shape: tuple[int, int],
    at: tuple[np.ndarray, np.ndarray],
    values: np.ndarray,
) -> dict[str, np.ndarray]:
    """Values in long form as one column a metric, in the order of `sort_metrics`; NaN where there is none."""
    wide = np.full(shape, np.nan)
    wide[at] = values
    return {
        name_metric_column(study, name): wide[:, names[name]] for name in sort_metrics(names, ledger.metric_orders())
    }

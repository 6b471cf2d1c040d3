"""Maps of mechanisms inside the networks by layer and epoch, for selected cells of a study.

C cells, S seeds, L layers, E epochs, M metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.study.design import build_cells
from experiments.study.mechanisms import GAP, MECHANISM, is_mechanism, split_metric
from experiments.study.study import Factor, Study
from experiments.trials.trial import TrialStatus

from .analysis.cells import MISSING
from .report import Report
from .wording.numbers import format_counts

LOG, SHARE, SIZE, SIGNED = "log", "share", "size", "signed"
MAX_CELLS = 8
MAX_GRID_CELLS, MAX_COLUMNS = 24, 6  # of a grid of two factors
_QUANTILES = ("activation_q05", "activation_q50", "activation_q95")
_RATIO = "_ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Quantity that is measured for each layer.

    name: as in the metric's name.
    title, description: texts for the figure.
    kind: LOG for ratio scales, SHARE for 0 to 1, SIZE for non-negative values, SIGNED for values around 0.
    """

    name: str
    title: str
    description: str
    kind: str


QUANTITIES = (
    Quantity(
        name="weight_gradient",
        title="Gradient of the weights",
        description="RMS of the gradient of a layer's weight.",
        kind=LOG,
    ),
    Quantity(
        name="activation_gradient",
        title="Gradient of the activations",
        description="RMS of the gradient of the loss of one example with respect to each layer's output.",
        kind=LOG,
    ),
    Quantity(
        name="saturated",
        title="Saturated units",
        description="Share of a layer's outputs within 5 % of the range of sigmoid or tanh from one of its bounds.",
        kind=SHARE,
    ),
    Quantity(
        name="dead",
        title="Dead units",
        description="Share of a layer's units whose output is 0 on every example of the probe.",
        kind=SHARE,
    ),
    Quantity(
        name="activation_std",
        title="Standard deviation of activations",
        description="Standard deviation of a layer's outputs.",
        kind=SIZE,
    ),
    Quantity(
        name="activation_mean", title="Mean of activations", description="Mean of a layer's outputs.", kind=SIGNED
    ),
    Quantity(
        name="activation_drift",
        title="Drift of activations",
        description=(
            "Mean absolute shift of the 5 %, 50 % and 95 % quantiles of a layer's outputs since the first epoch, as a "
            "share of the range between the 5 % and 95 % quantiles in that epoch."
        ),
        kind=SIZE,
    ),
    Quantity(
        name="update_ratio",
        title="Update-to-weight ratio",
        description="RMS of the last update of a layer's weight over the RMS of the weight.",
        kind=LOG,
    ),
    Quantity(
        name="weight_norm", title="Norm of the weights", description="Euclidean norm of a layer's weight.", kind=LOG
    ),
)
_FIRST_SCALARS = ("mechanism/weight_gradient_ratio", "mechanism/activation_gradient_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSelection:
    """Cells that are shown.

    cells: (row, column) -> the levels of all factors.
    varied: the factors in which the cells differ.
    note: the selection as a sentence; "" if all cells are shown.
    """

    cells: Mapping[tuple[int, int], tuple[str, ...]]
    varied: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerMap:
    """Quantity by layer and epoch, for each of C cells.

    layers: L names, in the order of data flow.
    epochs: (E,), from 0.
    values: (C, L, E), the mean over the cell's finished trials; NaN if the networks of the cell lack the layer, or a
        trial has no finite value.
    """

    quantity: Quantity
    layers: tuple[str, ...]
    epochs: NDArray[np.int64]
    values: NDArray[np.float64]


def list_scalar_metrics(report: Report) -> list[str]:
    """List the metrics by epoch of whole networks: ratios of gradients, and gaps with the study's metric first."""
    gap = f"{GAP}{report.study.metric.name.rpartition('/')[2]}"
    first = [*_FIRST_SCALARS[:1], gap, f"{GAP}loss", *_FIRST_SCALARS[1:]]
    names = [
        name
        for name in map(str, report.curves.columns)
        if name.startswith(GAP) or (name.startswith(MECHANISM) and split_metric(name) is None)
    ]
    return sorted(names, key=lambda name: first.index(name) if name in first else len(first))


def drop_mechanism_metrics(report: Report) -> pd.DataFrame:
    """Return the frame of trials without metrics of mechanisms, except those of the study or one of its claims."""
    study = report.study
    kept = {study.metric.name, *(claim.metric.name for claim in study.claims if claim.metric is not None)}
    factors = {factor.name for factor in study.factors}  # a factor may have the name of a metric
    dropped = [name for name in map(str, report.trials.columns) if is_mechanism(name) and name not in kept | factors]
    return report.trials.drop(columns=dropped)


def is_ratio(metric: str) -> bool:
    """Return whether a metric is compared by ratios instead of differences.

    >>> is_ratio("mechanism/weight_gradient_ratio"), is_ratio("gap/loss")
    (True, False)
    """
    return metric.startswith(MECHANISM) and metric.endswith(_RATIO)


def select_cells(study: Study) -> CellSelection:
    """Select the cells to show: all, or those that differ from the reference in one factor.

    Two crossed factors give a grid of up to 24 cells. Otherwise, up to 8 cells are shown, four in a row.
    """
    cells = [tuple(cell.levels[factor.name] for factor in study.factors) for cell in build_cells(study)]
    varied = tuple(factor.name for factor in study.factors)
    if (crossed := _grid_factors(study)) is not None and len(cells) <= MAX_GRID_CELLS:
        down, across = crossed
        grid = {
            (
                down.level_names.index(levels[study.factors.index(down)]),
                across.level_names.index(levels[study.factors.index(across)]),
            ): levels
            for levels in cells
        }
        return CellSelection(cells=grid, varied=varied, note="")
    note = ""
    if len(cells) > MAX_CELLS:
        reference = tuple(factor.reference for factor in study.factors)
        near = [levels for levels in cells if sum(map(str.__ne__, levels, reference)) <= 1] or cells
        note = f"Of {len(cells)} cells, "
        note += (
            "those that differ from the reference in one factor" if len(study.factors) > 1 else f"the first {MAX_CELLS}"
        )
        if len(near) > MAX_CELLS and len(study.factors) > 1:
            note += f", the first {MAX_CELLS} of {len(near)}"
        note += " are drawn; curves.csv contains all."
        cells = near[:MAX_CELLS]
    return CellSelection(
        cells={divmod(index, 4): levels for index, levels in enumerate(cells)}, varied=varied, note=note
    )


def compute_layer_maps(report: Report, chosen: CellSelection) -> list[LayerMap]:
    """Compute a map for each logged quantity, the most informative first. Quantiles appear as their drift."""
    columns: dict[str, dict[str, str]] = {}  # quantity -> layer -> column
    for column in map(str, report.curves.columns):
        if (names := split_metric(column)) is not None:
            quantity_name, layer = names
            columns.setdefault(quantity_name, {})[layer] = column
    parts = [_collect_values(report, levels, columns) for levels in chosen.cells.values()]
    known = {quantity.name: quantity for quantity in QUANTITIES}
    others = [name for name in columns if name not in known and name not in _QUANTILES]
    num_epochs = max((next(iter(part.values())).shape[2] for part in parts if part), default=0)
    maps = []
    for name in [*(name for name in known if name in columns), *others]:
        values = np.full((len(parts), len(columns[name]), num_epochs), np.nan)
        for cell, part in enumerate(parts):
            if len(part[name]):  # the mean is NaN if one of the trials has no value
                values[cell, :, : part[name].shape[2]] = part[name].mean(axis=0)
        is_there = np.isfinite(values)
        if is_there.any():
            epochs = np.flatnonzero(is_there.any(axis=(0, 1)))
            shown = np.where(is_there, values, np.nan)[:, :, epochs]
            quantity = known.get(name) or _make_quantity(name, shown)
            maps.append(LayerMap(quantity=quantity, layers=tuple(columns[name]), epochs=epochs, values=shown))
    return maps


def count_trials(report: Report, levels: Sequence[str]) -> tuple[int, int, str]:
    """Count the finished and the planned trials of a cell, and describe the others, such as "1 failed"."""
    statuses = report.trials.loc[_has_levels(report.trials, report.study, levels), "status"]
    states = statuses.where(statuses != TrialStatus.RUNNING, TrialStatus.PENDING).value_counts()
    others = format_counts({reason: int(states.get(reason, 0)) for reason in MISSING})
    return int(states.get(TrialStatus.FINISHED, 0)), len(statuses), others


def _grid_factors(study: Study) -> tuple[Factor, Factor] | None:
    """Return the factors of the rows and the columns; None unless the study crosses exactly two factors."""
    if study.design != "full" or len(study.factors) != 2:  # noqa: PLR2004
        return None
    shorter, longer = sorted(study.factors, key=lambda factor: len(factor.levels))
    down, across = (shorter, longer) if len(longer.levels) <= MAX_COLUMNS else (longer, shorter)
    return (down, across) if len(across.levels) <= MAX_COLUMNS else None


def _has_levels(frame: pd.DataFrame, study: Study, levels: Sequence[str]) -> NDArray[np.bool_]:
    has = np.ones(len(frame), dtype=bool)
    for factor, level in zip(study.factors, levels, strict=True):
        has &= (frame[factor.name] == level).to_numpy(dtype=bool)
    return has


def _collect_values(
    report: Report, levels: Sequence[str], columns: Mapping[str, Mapping[str, str]]
) -> dict[str, NDArray[np.float64]]:
    """Return quantity -> values (S, L, E) of the finished trials of a cell; NaN if a trial has no finite value."""
    finished = set(report.trials.loc[report.trials["status"] == TrialStatus.FINISHED, "trial_id"])
    part = report.curves[_has_levels(report.curves, report.study, levels)]
    part = part[part["trial_id"].isin(finished)]
    trials, rows = np.unique(part["trial_id"].to_numpy(dtype=str), return_inverse=True)
    epochs = part["epoch"].to_numpy(dtype=np.int64)
    shape = len(trials), int(epochs.max(initial=-1)) + 1
    by_quantity = {}
    for quantity, by_layer in columns.items():
        values = np.full((*shape, len(by_layer)), np.nan)
        values[rows, epochs] = part[list(by_layer.values())].to_numpy(dtype=np.float64)
        by_quantity[quantity] = np.where(np.isfinite(values), values, np.nan).transpose(0, 2, 1)
    return by_quantity


def _make_quantity(name: str, values: NDArray[np.float64]) -> Quantity:
    """Describe a quantity that the suite does not measure itself."""
    title = name.replace("_", " ")
    kind = SIGNED if np.nanmin(values) < 0 else SIZE
    return Quantity(name=name, title=title[:1].upper() + title[1:], description=f"mechanism/{name}.", kind=kind)

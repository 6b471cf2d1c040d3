"""What happens inside the networks of a study, as maps of layer by epoch for a few of its cells.

C cells, S seeds, L layers, E epochs, M metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.study.design import cells_of
from experiments.study.mechanisms import GAP, MECHANISM, is_mechanism, split_metric
from experiments.study.study import Factor, Study
from experiments.trials.trial import TrialStatus

from .analysis.cells import MISSING
from .report import Report
from .wording.numbers import format_counts

LOG, SHARE, SIZE, SIGNED = "log", "share", "size", "signed"
MAX_CELLS = 8
MAX_GRID_CELLS, MAX_COLUMNS = 24, 6  # cells of two factors, and those side by side
_QUANTILES = ("activation_q05", "activation_q50", "activation_q95")
_RATIO = "_ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Something that is measured of each layer.

    name: as in the metric's name.
    title, description: what it is, as a title and as a sentence.
    kind: LOG where factors count, SHARE from 0 to 1, SIZE from 0 on, SIGNED around 0.
    """

    name: str
    title: str
    description: str
    kind: str


QUANTITIES = (
    Quantity(
        name="weight_gradient",
        title="Gradient of the weights",
        description="RMS of the gradient of each weight.",
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
        description="Share of a layer's outputs within 5 % of the range from a bound of sigmoid or tanh.",
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
        title="Deviation of activations",
        description="Deviation of a layer's outputs.",
        kind=SIZE,
    ),
    Quantity(
        name="activation_mean", title="Mean of activations", description="Mean of a layer's outputs.", kind=SIGNED
    ),
    Quantity(
        name="activation_drift",
        title="Drift of activations",
        description=(
            "How far the 5 %, 50 % and 95 % quantiles of a layer's outputs have moved since the first epoch, on "
            "average, as a share of the range between the outer two then."
        ),
        kind=SIZE,
    ),
    Quantity(
        name="update_ratio",
        title="Update over weight",
        description="RMS of the last step's change of a weight over the RMS of the weight.",
        kind=LOG,
    ),
    Quantity(
        name="weight_norm", title="Norm of the weights", description="Euclidean norm of a layer's weight.", kind=LOG
    ),
)
_FIRST_SCALARS = ("mechanism/weight_gradient_ratio", "mechanism/activation_gradient_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSelection:
    """The cells that are shown: (row, column) -> the levels of all factors, and how they were chosen, as a sentence.

    varied: the factors whose levels tell the cells apart.
    note: nothing where every cell is shown.
    """

    cells: Mapping[tuple[int, int], tuple[str, ...]]
    varied: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerMap:
    """A quantity by layer and epoch, for each of C cells.

    layers: L names, in the order in which data flow.
    epochs: (E,), from 0.
    values: (C, L, E), the mean over the cell's finished trials; NaN where the networks of the cell have no such layer,
        and where one of these trials has no finite value.
    """

    quantity: Quantity
    layers: tuple[str, ...]
    epochs: NDArray[np.int64]
    values: NDArray[np.float64]


def list_scalar_metrics(report: Report) -> list[str]:
    """The metrics by epoch that tell of a network as a whole: ratios of gradients, gaps (the study's own first)."""
    own = f"{GAP}{report.study.metric.name.rpartition('/')[2]}"
    first = [*_FIRST_SCALARS[:1], own, f"{GAP}loss", *_FIRST_SCALARS[1:]]
    found = [
        name
        for name in map(str, report.curves.columns)
        if name.startswith(GAP) or (name.startswith(MECHANISM) and split_metric(name) is None)
    ]
    return sorted(found, key=lambda name: first.index(name) if name in first else len(first))


def drop_mechanism_metrics(report: Report) -> pd.DataFrame:
    """The frame of trials without the hundreds of metrics that the section on mechanisms shows in its own way.

    Those that the study or one of its claims is on stay.
    """
    study = report.study
    asked = {study.metric.name, *(claim.metric.name for claim in study.claims if claim.metric is not None)}
    factors = {factor.name for factor in study.factors}  # one may be called like a metric
    dropped = [name for name in map(str, report.trials.columns) if is_mechanism(name) and name not in asked | factors]
    return report.trials.drop(columns=dropped)


def is_ratio(metric: str) -> bool:
    """Whether factors of a metric count, and not differences.

    >>> is_ratio("mechanism/weight_gradient_ratio"), is_ratio("gap/loss")
    (True, False)
    """
    return metric.startswith(MECHANISM) and metric.endswith(_RATIO)


def select_cells(study: Study) -> CellSelection:
    """Which cells are shown: all that there are, or those that change one factor of the reference.

    Cells of two factors that are crossed stand in rows and columns, up to 24; others up to 8, four in a row.
    """
    cells = [tuple(cell.levels[factor.name] for factor in study.factors) for cell in cells_of(study)]
    varied = tuple(factor.name for factor in study.factors)
    if (crossed := _crossed(study)) is not None and len(cells) <= MAX_GRID_CELLS:
        down, across = crossed
        places = {
            (
                down.level_names.index(levels[study.factors.index(down)]),
                across.level_names.index(levels[study.factors.index(across)]),
            ): levels
            for levels in cells
        }
        return CellSelection(cells=places, varied=varied, note="")
    note = ""
    if len(cells) > MAX_CELLS:
        reference = tuple(factor.reference for factor in study.factors)
        near = [levels for levels in cells if sum(map(str.__ne__, levels, reference)) <= 1] or cells
        note = f"Of {len(cells)} cells, "
        note += "those that change one factor of the reference" if len(study.factors) > 1 else f"the first {MAX_CELLS}"
        if len(near) > MAX_CELLS and len(study.factors) > 1:
            note += f", the first {MAX_CELLS} of {len(near)}"
        note += " are drawn; curves.csv has all."
        cells = near[:MAX_CELLS]
    return CellSelection(
        cells={divmod(place, 4): levels for place, levels in enumerate(cells)}, varied=varied, note=note
    )


def compute_layer_maps(report: Report, chosen: CellSelection) -> list[LayerMap]:
    """A map for each quantity that was logged, those that say most first.

    Quantiles are drawn as how far they drift.
    """
    columns: dict[str, dict[str, str]] = {}  # quantity -> layer -> column
    for column in map(str, report.curves.columns):
        if found := split_metric(column):
            columns.setdefault(found[0], {})[found[1]] = column
    parts = [_by_trial(report, levels, columns) for levels in chosen.cells.values()]
    known = {quantity.name: quantity for quantity in QUANTITIES}
    others = [name for name in columns if name not in known and name not in _QUANTILES]
    num_epochs = max((next(iter(part.values())).shape[2] for part in parts if part), default=0)
    maps = []
    for name in [*(name for name in known if name in columns), *others]:
        values = np.full((len(parts), len(columns[name]), num_epochs), np.nan)
        for place, part in enumerate(parts):
            if len(part[name]):
                values[place, :, : part[name].shape[2]] = part[name].mean(
                    axis=0
                )  # NaN where one of the trials has none
        is_there = np.isfinite(values)
        if is_there.any():
            epochs = np.flatnonzero(is_there.any(axis=(0, 1)))
            shown = np.where(is_there, values, np.nan)[:, :, epochs]
            quantity = known.get(name) or _unknown(name, shown)
            maps.append(LayerMap(quantity=quantity, layers=tuple(columns[name]), epochs=epochs, values=shown))
    return maps


def count_trials(report: Report, levels: Sequence[str]) -> tuple[int, int, str]:
    """How many trials of a cell finished, how many are planned, and what the others came to, in words."""
    statuses = report.trials.loc[_has_levels(report.trials, report.study, levels), "status"]
    states = statuses.where(statuses != TrialStatus.RUNNING, TrialStatus.PENDING).value_counts()
    lost = format_counts({reason: int(states.get(reason, 0)) for reason in MISSING})
    return int(states.get(TrialStatus.FINISHED, 0)), len(statuses), lost


def _crossed(study: Study) -> tuple[Factor, Factor] | None:
    """The factors whose levels stand in rows and in columns; None where there are not two that are crossed."""
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


def _by_trial(
    report: Report, levels: Sequence[str], columns: Mapping[str, Mapping[str, str]]
) -> dict[str, NDArray[np.float64]]:
    """Of one cell, quantity -> (S, L, E), finished trials alone; NaN where a trial has no finite value."""
    finished = set(report.trials.loc[report.trials["status"] == TrialStatus.FINISHED, "trial_id"])
    part = report.curves[_has_levels(report.curves, report.study, levels)]
    part = part[part["trial_id"].isin(finished)]
    trials, places = np.unique(part["trial_id"].to_numpy(dtype=str), return_inverse=True)
    epochs = part["epoch"].to_numpy(dtype=np.int64)
    shape = len(trials), int(epochs.max(initial=-1)) + 1
    found = {}
    for quantity, by_layer in columns.items():
        values = np.full((*shape, len(by_layer)), np.nan)
        values[places, epochs] = part[list(by_layer.values())].to_numpy(dtype=np.float64)
        found[quantity] = np.where(np.isfinite(values), values, np.nan).transpose(0, 2, 1)
    return found


def _unknown(name: str, values: NDArray[np.float64]) -> Quantity:
    """A quantity that this suite does not measure itself."""
    title = name.replace("_", " ")
    kind = SIGNED if np.nanmin(values) < 0 else SIZE
    return Quantity(name=name, title=title[:1].upper() + title[1:], description=f"mechanism/{name}.", kind=kind)

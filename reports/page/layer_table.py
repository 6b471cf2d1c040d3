"""Tables of the heat maps of layer by epoch: for each layer and cell, the first and the last epoch."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.text import escape_controls
from reports.figures.colour_scale import format_short
from reports.formats.tables import Cell, Table, number_cell, text_cell
from reports.mechanism_maps import LayerMap, compute_layer_maps, select_cells
from reports.report import Report
from reports.wording.numbers import ABSENT

from .html_tables import PageTable, make_page_table


def tabulate_layers(report: Report) -> dict[str, PageTable]:
    """Return the table of each map by the name of its figure. Cells are sorted by the value of the last epoch."""
    chosen = select_cells(report.study)
    headers = [escape_controls(", ".join(levels)) for levels in chosen.cells.values()]
    return {f"mechanism-{made.quantity.name}": _table(made, headers) for made in compute_layer_maps(report, chosen)}


def _table(made: LayerMap, headers: Sequence[str]) -> PageTable:
    first, last = int(made.epochs[0]), int(made.epochs[-1])
    when = f"epoch {first} → epoch {last}" if first != last else f"epoch {first}"
    rows = tuple(
        (text_cell(layer), *map(_make_cell, made.values[:, index]))  # (C, E) of a layer
        for index, layer in enumerate(made.layers)
    )
    return make_page_table(
        f"{made.quantity.title} by layer: {when}",
        Table(headers=("layer", *headers), rows=rows),
        "curves.csv has every epoch, every trial and every digit.",
    )


def _make_cell(values: NDArray[np.float64]) -> Cell:
    """Return the cell of (E,) values."""
    if not np.isfinite(values).any():
        return number_cell(math.nan)
    start, end = float(values[0]), float(values[-1])
    texts = [ABSENT if math.isnan(value) else format_short(value) for value in (start, end)]
    return Cell(text=texts[0] if len(values) == 1 else " → ".join(texts), value=end)

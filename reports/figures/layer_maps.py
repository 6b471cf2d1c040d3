"""Heat maps of layer by epoch: a panel for each cell, layers from top to bottom, one colour scale for all panels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.mechanism_maps import CellSelection, LayerMap, compute_layer_maps, count_trials, select_cells
from reports.report import Report
from reports.wording.numbers import format_cell, format_count

from .colour_scale import ZERO, Scale, choose_scale, format_short
from .drawing import INK, MUTED, RULE, WIDTH, Picture, Sheet, estimate_width, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_EPOCHS = 60  # columns of a panel
_TALL, _GAP, _ACROSS = 190, 16, 56  # of a panel; between panels, side by side and one below the other
_LOWEST, _HIGHEST = 4, 18  # of a layer's row
_LABELS, _WIDEST = 120, 300
_BAR, _FOOT = 260, 62
_HATCHED: Mapping[str, Any] = {"facecolor": "none", "edgecolor": RULE, "hatch": "////"}


def layer_figures(report: Report) -> tuple[Picture, ...]:
    """Draw a figure for each quantity that was measured by layer, the most informative ones first."""
    chosen = select_cells(report.study)
    counts = [count_trials(report, levels) for levels in chosen.cells.values()]
    return tuple(_draw_figure(report, made, chosen, counts) for made in compute_layer_maps(report, chosen))


def _draw_figure(
    report: Report, made: LayerMap, chosen: CellSelection, counts: Sequence[tuple[int, int, str]]
) -> Picture:
    study = report.study
    values, epochs = _thin(made)
    scale = choose_scale(made.quantity, values)
    row = min(max(_TALL / len(made.layers), _LOWEST), _HIGHEST)
    tall = row * len(made.layers)
    step = max(1, round(0.5 + 11 / row))  # between labels of layers, which are 11 pixels high
    left = min(max(estimate_width(layer, 10) for layer in made.layers), _LABELS) + 8
    columns, rows = (1 + max(position[axis] for position in chosen.cells) for axis in (1, 0))
    wide = min((WIDTH - left) / columns - _GAP, _WIDEST)
    is_alike = len({count[:2] for count in counts}) == 1 and counts[0][0] == counts[0][1]
    head = 18 if is_alike else 32
    pitch = tall + head + _ACROSS - 32
    width = max(left + columns * (wide + _GAP), 460)
    words = []
    with Sheet(rows * pitch + _FOOT, width) as sheet:
        for index, ((down, across), levels) in enumerate(chosen.cells.items()):
            x, y = left + across * (wide + _GAP), down * pitch + head
            axes = sheet.add_axes(x, y, wide, tall)
            _draw_panel(axes, scale, values[index], epochs)
            name = ", ".join(levels)
            sheet.add_text(x, y - head + 8, shorten(name, wide, 11), fontsize=11, fontweight="bold")
            finished, planned, lost = counts[index]
            if not is_alike:
                count = f"n {finished}" + (f" of {planned}: {lost}" if lost else "")
                sheet.add_text(x, y - 9, shorten(count, wide, 10), fontsize=10, color=MUTED)
            if across == 0:
                for number in range(0, len(made.layers), step):
                    label = shorten(made.layers[number], left - 8, 10)
                    sheet.add_text(left - 6, y + row * (number + 0.5), label, ha="right", fontsize=10)
            cell = format_cell(dict(zip(chosen.varied, levels, strict=True)))
            words.append(f"{cell} (n {finished}): {_describe_ends(made, index)}")
        bottom = rows * pitch
        sheet.add_text(left, bottom, "epoch", color=MUTED, fontsize=11)
        _draw_bar(sheet, scale, left, bottom + 18, has_gaps=bool(np.isnan(values).any()))
        return sheet.to_picture(
            name=f"mechanism-{made.quantity.name}",
            title=made.quantity.title,
            caption=_caption(report, made, chosen, scale, counts),
            alt=f"{made.quantity.title} by layer, from the first to the last epoch, mean over {study.unit}s. "
            + "; ".join(words)
            + ".",
        )


def _thin(made: LayerMap) -> tuple[np.ndarray, np.ndarray]:
    """Return values and epochs, evenly spaced, at most _MOST_EPOCHS, with the first and the last."""
    at = np.unique(np.linspace(0, len(made.epochs) - 1, min(len(made.epochs), _MOST_EPOCHS)).round().astype(int))
    return made.values[:, :, at], made.epochs[at]


def _draw_panel(axes: "Axes", scale: Scale, values: np.ndarray, epochs: np.ndarray) -> None:
    """Draw the panel of one cell, (L, E), hatched where there is no value."""
    from matplotlib.patches import Rectangle

    axes.set_xlim(0, len(epochs))
    axes.set_ylim(len(values), 0)
    axes.grid(visible=False)
    axes.set_yticks([])
    if np.isnan(values).any():
        axes.add_patch(Rectangle((0, 0), len(epochs), len(values), linewidth=0, **_HATCHED))
    axes.imshow(
        scale.to_pixels(values), extent=(0, len(epochs), len(values), 0), aspect="auto", interpolation="none", zorder=2
    )
    ticks = sorted({0, len(epochs) - 1} if len(epochs) < 5 else {0, len(epochs) // 2, len(epochs) - 1})  # noqa: PLR2004
    axes.set_xticks([tick + 0.5 for tick in ticks], [str(epochs[tick]) for tick in ticks])
    axes.tick_params(axis="x", labelsize=10, length=2)
    for spine in axes.spines.values():
        spine.set_visible(True)


def _draw_bar(sheet: Sheet, scale: Scale, left: float, top: float, *, has_gaps: bool) -> None:
    """Draw the colour bar with its ticks, and the colours that are not on it."""
    axes = sheet.add_axes(left, top, _BAR, 10)
    axes.set_axis_off()
    steps = np.linspace(0, 1, 128)[None]
    bar = Scale(positions=lambda values: values, ticks=(), colours=scale.colours)
    axes.imshow(bar.to_pixels(steps), extent=(0, 1, 1, 0), aspect="auto", interpolation="none")
    for position, label in scale.ticks:
        sheet.add_text(left + position * _BAR, top + 24, label, ha="center", fontsize=10, color=MUTED)
    x = left + _BAR + 30
    if scale.has_zero:
        x = _draw_swatch(sheet, x, top, "0", {"facecolor": ZERO})
    if has_gaps:
        _draw_swatch(sheet, x, top, "no value", _HATCHED)


def _draw_swatch(sheet: Sheet, x: float, top: float, label: str, look: Mapping[str, Any]) -> float:
    """Draw a small rectangle with its label, and return the position of the next one."""
    from matplotlib.patches import Rectangle

    axes = sheet.add_axes(x, top, 20, 10, xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    axes.add_patch(Rectangle((0, 0), 1, 1, linewidth=1, **({"edgecolor": RULE} | dict(look))))
    sheet.add_text(x + 26, top + 5, label, fontsize=10, color=INK)
    return x + 26 + estimate_width(label, 10) + 20


def _describe_ends(made: LayerMap, index: int) -> str:
    """Describe the first and the last layer of the cell in the first and the last epoch."""
    values = made.values[index]
    known = np.flatnonzero(np.isfinite(values).any(axis=1))
    if not len(known):
        return "no value"
    parts = []
    for row in dict.fromkeys((int(known[0]), int(known[-1]))):
        finite = values[row][np.isfinite(values[row])]
        parts.append(f"{made.layers[row]} {format_short(float(finite[0]))} to {format_short(float(finite[-1]))}")
    return ", ".join(parts)


def _caption(
    report: Report, made: LayerMap, chosen: CellSelection, scale: Scale, counts: Sequence[tuple[int, int, str]]
) -> str:
    study = report.study
    sizes = {finished for finished, _, _ in counts}
    mean = f"Mean over {study.unit}s" + (f" (n {next(iter(sizes))})" if len(sizes) == 1 else ", n above each panel")
    parts = [
        made.quantity.description,
        f"{mean}. Rows are layers, from input (top) to output (bottom). Columns are epochs, counted from 0.",
        f"All panels have the same colour scale{f', {scale.kind}' if scale.kind else ''}.",
    ]
    if len(study.factors) > 1:
        parts.append(f"Panels are named by the levels of {', '.join(chosen.varied)}.")
    if np.isnan(made.values).any():
        parts.append(
            "Hatched: the network has no such layer, or a trial has no finite value"
            + (" or stopped earlier." if len(made.epochs) > 1 else ".")
        )
    if len(made.epochs) > _MOST_EPOCHS:
        parts.append(f"Drawn: {_MOST_EPOCHS} of {format_count(len(made.epochs), 'epoch')}.")
    return " ".join([*parts, chosen.note] if chosen.note else parts)

"""Maps of layer by epoch: a panel for each cell, data flowing from top to bottom, one colour scale for all of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.mechanism_maps import CellSelection, LayerMap, compute_layer_maps, count_trials, select_cells
from reports.report import Report
from reports.wording.numbers import format_cell, format_count

from .colour_scale import ZERO, Scale, scale_of, short
from .drawing import INK, MUTED, RULE, WIDTH, Picture, Sheet, shortened, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_EPOCHS = 60  # columns of a panel
_TALL, _GAP, _ACROSS = 190, 16, 56  # of a panel; between panels, side by side and one below the other
_LOWEST, _HIGHEST = 4, 18  # of a layer's row
_LABELS, _WIDEST = 120, 300
_BAR, _FOOT = 260, 62
_HATCHED: Mapping[str, Any] = {"facecolor": "none", "edgecolor": RULE, "hatch": "////"}


def layer_figures(report: Report) -> tuple[Picture, ...]:
    """A figure for each quantity that was measured layer by layer, those that say most first."""
    chosen = select_cells(report.study)
    counts = [count_trials(report, levels) for levels in chosen.cells.values()]
    return tuple(_figure(report, made, chosen, counts) for made in compute_layer_maps(report, chosen))


def _figure(report: Report, made: LayerMap, chosen: CellSelection, counts: Sequence[tuple[int, int, str]]) -> Picture:
    study = report.study
    values, epochs = _thinned(made)
    scale = scale_of(made.quantity, values)
    row = min(max(_TALL / len(made.layers), _LOWEST), _HIGHEST)
    tall = row * len(made.layers)
    step = max(1, round(0.5 + 11 / row))  # between labels of layers, which are 11 pixels high
    left = min(max(text_width(layer, 10) for layer in made.layers), _LABELS) + 8
    columns, rows = (1 + max(place[axis] for place in chosen.cells) for axis in (1, 0))
    wide = min((WIDTH - left) / columns - _GAP, _WIDEST)
    is_alike = len({count[:2] for count in counts}) == 1 and counts[0][0] == counts[0][1]
    head = 18 if is_alike else 32
    pitch = tall + head + _ACROSS - 32
    width = max(left + columns * (wide + _GAP), 460)
    words = []
    with Sheet(rows * pitch + _FOOT, width) as sheet:
        for place, ((down, across), levels) in enumerate(chosen.cells.items()):
            x, y = left + across * (wide + _GAP), down * pitch + head
            axes = sheet.axes(x, y, wide, tall)
            _panel(axes, scale, values[place], epochs)
            name = ", ".join(levels)
            sheet.text(x, y - head + 8, shortened(name, wide, 11), fontsize=11, fontweight="bold")
            finished, planned, lost = counts[place]
            if not is_alike:
                count = f"n {finished}" + (f" of {planned}: {lost}" if lost else "")
                sheet.text(x, y - 9, shortened(count, wide, 10), fontsize=10, color=MUTED)
            if across == 0:
                for number in range(0, len(made.layers), step):
                    label = shortened(made.layers[number], left - 8, 10)
                    sheet.text(left - 6, y + row * (number + 0.5), label, ha="right", fontsize=10)
            words.append(
                f"{format_cell(dict(zip(chosen.varied, levels, strict=True)))} (n {finished}): {_ends(made, place)}"
            )
        bottom = rows * pitch
        sheet.text(left, bottom, "epoch", color=MUTED, fontsize=11)
        _bar(sheet, scale, left, bottom + 18, has_gaps=bool(np.isnan(values).any()))
        return sheet.picture(
            name=f"mechanism-{made.quantity.name}",
            title=made.quantity.title,
            caption=_caption(report, made, chosen, scale, counts),
            alt=f"{made.quantity.title} by layer, from the first epoch to the last, mean over {study.unit}s. "
            + "; ".join(words)
            + ".",
        )


def _thinned(made: LayerMap) -> tuple[np.ndarray, np.ndarray]:
    """Values and epochs, so many at most, evenly spaced, with the first and the last."""
    at = np.unique(np.linspace(0, len(made.epochs) - 1, min(len(made.epochs), _MOST_EPOCHS)).round().astype(int))
    return made.values[:, :, at], made.epochs[at]


def _panel(axes: "Axes", scale: Scale, values: np.ndarray, epochs: np.ndarray) -> None:
    """One cell, (L, E): hatched where there is no value."""
    from matplotlib.patches import Rectangle

    axes.set_xlim(0, len(epochs))
    axes.set_ylim(len(values), 0)
    axes.grid(visible=False)
    axes.set_yticks([])
    if np.isnan(values).any():
        axes.add_patch(Rectangle((0, 0), len(epochs), len(values), linewidth=0, **_HATCHED))
    axes.imshow(
        scale.pixels(values), extent=(0, len(epochs), len(values), 0), aspect="auto", interpolation="none", zorder=2
    )
    ticks = sorted({0, len(epochs) - 1} if len(epochs) < 5 else {0, len(epochs) // 2, len(epochs) - 1})  # noqa: PLR2004
    axes.set_xticks([tick + 0.5 for tick in ticks], [str(epochs[tick]) for tick in ticks])
    axes.tick_params(axis="x", labelsize=10, length=2)
    for spine in axes.spines.values():
        spine.set_visible(True)


def _bar(sheet: Sheet, scale: Scale, left: float, top: float, *, has_gaps: bool) -> None:
    """The colours with their numbers, and beside them what is no colour of the scale."""
    axes = sheet.axes(left, top, _BAR, 10)
    axes.set_axis_off()
    steps = np.linspace(0, 1, 128)[None]
    bar = Scale(places=lambda values: values, ticks=(), colours=scale.colours)
    axes.imshow(bar.pixels(steps), extent=(0, 1, 1, 0), aspect="auto", interpolation="none")
    for place, label in scale.ticks:
        sheet.text(left + place * _BAR, top + 24, label, ha="center", fontsize=10, color=MUTED)
    x = left + _BAR + 30
    if scale.has_zero:
        x = _swatch(sheet, x, top, "0", {"facecolor": ZERO})
    if has_gaps:
        _swatch(sheet, x, top, "no value", _HATCHED)


def _swatch(sheet: Sheet, x: float, top: float, label: str, look: Mapping[str, Any]) -> float:
    """A little rectangle with its meaning; where the next one may stand."""
    from matplotlib.patches import Rectangle

    axes = sheet.axes(x, top, 20, 10, xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    axes.add_patch(Rectangle((0, 0), 1, 1, linewidth=1, **({"edgecolor": RULE} | dict(look))))
    sheet.text(x + 26, top + 5, label, fontsize=10, color=INK)
    return x + 26 + text_width(label, 10) + 20


def _ends(made: LayerMap, place: int) -> str:
    """The first and the last layer that the cell has, at the first and the last epoch."""
    values = made.values[place]
    known = np.flatnonzero(np.isfinite(values).any(axis=1))
    if not len(known):
        return "no value"
    parts = []
    for row in dict.fromkeys((int(known[0]), int(known[-1]))):
        finite = values[row][np.isfinite(values[row])]
        parts.append(f"{made.layers[row]} {short(float(finite[0]))} to {short(float(finite[-1]))}")
    return ", ".join(parts)


def _caption(
    report: Report, made: LayerMap, chosen: CellSelection, scale: Scale, counts: Sequence[tuple[int, int, str]]
) -> str:
    study = report.study
    sizes = {finished for finished, _, _ in counts}
    mean = f"Mean over {study.unit}s" + (f" (n {next(iter(sizes))})" if len(sizes) == 1 else ", n above each panel")
    parts = [
        made.quantity.description,
        f"{mean}; rows are layers as data flow, from top to bottom; columns are epochs, counted from 0.",
        f"One colour scale{f' ({scale.words})' if scale.words else ''} for all panels.",
    ]
    if len(study.factors) > 1:
        parts.append(f"Names are the levels of {', '.join(chosen.varied)}.")
    if np.isnan(made.values).any():
        parts.append(
            "Hatched: the network has no such layer, or a trial has no finite value there"
            + (" (or stopped earlier)." if len(made.epochs) > 1 else ".")
        )
    if len(made.epochs) > _MOST_EPOCHS:
        parts.append(f"Of {format_count(len(made.epochs), 'epoch')}, {_MOST_EPOCHS} are drawn.")
    return " ".join([*parts, chosen.note] if chosen.note else parts)

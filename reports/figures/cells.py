"""The cells themselves: every trial as a dot, means with intervals, two factors as lines and as a map."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.study.study import Factor
from experiments.trials.trial import TrialStatus
from reports.analysis.cells import Outcomes, collect_outcomes
from reports.report import Report
from reports.statistics.paired import MeanInterval, mean_interval
from reports.wording.numbers import choose_decimals, format_cell, format_count, format_number

from .colours import looks_of
from .drawing import INK, MUTED, PALETTE, WIDTH, Picture, Sheet, fit_ticks, shortened, text_width
from .paired_values import level_means

MOST_CELLS = 40
MOST_LEVELS = 12  # of a factor in a map
_MOST_DOTS = 30  # of a cell
_ROW, _LABELS = 25, 270


def cell_dots(report: Report) -> Picture | None:
    """Every trial as a dot beside its cell's mean and 95 % interval."""
    study = report.study
    outcomes = collect_outcomes(study, report.trials)
    rows = [row for row in range(len(outcomes.cells)) if (outcomes.states[row] == TrialStatus.FINISHED).any()]
    shown = rows[:MOST_CELLS]
    if not shown:
        return None
    looks = looks_of(study)
    first = study.factors[0].name
    labels = [shortened(", ".join(outcomes.cells[row]), _LABELS - 16) for row in shown]
    left = max(map(text_width, labels)) + 16
    height = 14 + _ROW * len(shown) + 44
    decimals = _decimals(outcomes.scores[shown])
    words = []
    with Sheet(height) as sheet:
        axes = sheet.axes(left, 10, WIDTH - left - 84, _ROW * len(shown))
        axes.set_ylim(len(shown), 0)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        for place, row in enumerate(shown):
            values = outcomes.scores[row][outcomes.states[row] == TrialStatus.FINISHED]
            found = mean_interval(values, overlap=outcomes.overlap)
            levels = dict(zip(outcomes.factors, outcomes.cells[row], strict=True))
            look = looks[first, levels[first]]
            dots = values[:_MOST_DOTS]
            axes.plot(dots, [place + 0.5] * len(dots), "o", color=look.colour, alpha=0.45, markersize=5)
            if not math.isnan(found.ci_low):
                axes.plot([found.ci_low, found.ci_high], [place + 0.5] * 2, color=look.colour, linewidth=1.5)
            axes.plot([found.mean], [place + 0.5], "|", color=INK, markersize=14, markeredgewidth=2)
            sheet.text(0, 10 + _ROW * (place + 0.5), labels[place])
            sheet.text(
                WIDTH,
                10 + _ROW * (place + 0.5),
                format_number(found.mean, decimals),
                ha="right",
                fontsize=11.5,
                color=INK,
            )
            words.append(f"{format_cell(levels)}: {format_number(found.mean, decimals)} (n {found.n})")
        fit_ticks(axes, WIDTH - left - 84, 7)
        sheet.text(left + (WIDTH - left - 84) / 2, height - 8, study.metric.name, ha="center", color=MUTED)
        sheet.text(WIDTH, height - 8, "mean", ha="right", color=MUTED, fontsize=11)
        omitted = len(rows) - len(shown)
        return sheet.picture(
            name="cells",
            title="Every trial",
            caption=(
                (
                    f"A dot is one training; there is no interval from one {study.unit}. "
                    if len(study.seeds) == 1
                    else f"A dot is a {study.unit}, the stroke the mean, the line its 95 % interval. "
                )
                + f"Names are the levels of "
                f"{', '.join(outcomes.factors)}. The axis does not begin at 0."
                + (
                    f" Dots are drawn for the first {_MOST_DOTS} {study.unit}s."
                    if len(study.seeds) > _MOST_DOTS
                    else ""
                )
                + (f" The first {MOST_CELLS} of {len(rows)} cells are drawn; trials.csv has all." if omitted else "")
            ),
            alt=f"Means of {study.metric.name}. " + "; ".join(words) + ".",
        )


def interaction(report: Report, along: Factor, lines: Factor) -> Picture | None:
    """The levels of one factor along the axis, a line for each level of the other: cell means with 95 % intervals.

    None where nothing was measured, and for one seed, which cannot tell an interaction from noise.
    """
    study = report.study
    if len(study.seeds) == 1:
        return None
    outcomes = collect_outcomes(study, report.trials)
    means = _grid(outcomes, along, lines)
    if np.isnan([[found.mean for found in row] for row in means]).all():
        return None
    looks = looks_of(study)
    names = lines.level_names[:MOST_LEVELS]
    left, top, height = 60, 34, max(250, 20 * len(names))
    right = min(max(text_width(lines.name, 11), *map(text_width, names)), 200) + 30
    plot = WIDTH - left - right
    points = len(along.level_names)
    with Sheet(top + height + 44) as sheet:
        axes = sheet.axes(left, top, plot, height)
        ends = []
        for place, name in enumerate(names):
            look = looks[lines.name, name]
            shift = (place - (len(names) - 1) / 2) * min(0.06, 0.4 / len(names))
            found = [means[column][place] for column in range(points)]
            x = np.arange(points) + shift
            values = np.array([item.mean for item in found])
            axes.plot(x, values, color=look.colour, marker=look.marker, markersize=6, linewidth=2)
            for at, item in zip(x, found, strict=True):
                if not math.isnan(item.ci_low):
                    axes.plot([at, at], [item.ci_low, item.ci_high], color=look.colour, linewidth=1.3, alpha=0.8)
            finite = np.flatnonzero(~np.isnan(values))
            if len(finite):
                ends.append((float(values[finite[-1]]), float(x[finite[-1]]), name, look.colour))
        axes.set_xlim(-0.3, points - 1 + 0.3)
        axes.set_xticks(range(points), [shortened(name, plot / points - 8, 11) for name in along.level_names])
        axes.tick_params(axis="x", labelcolor=INK)
        axes.grid(visible=False, axis="x")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high)
        at = spread([(high - value) / (high - low) * height for value, *_ in ends], 16, height)
        for y, (value, x_end, name, colour) in zip(at, ends, strict=True):
            axes.annotate(
                "",
                (x_end, value),
                (points - 1 + 0.3, high - y / height * (high - low)),
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "alpha": 0.6, "shrinkB": 5},
            )
            sheet.text(left + plot + 6, top + y, shortened(name, right - 8), fontsize=11.5)
        sheet.text(0, 10, shortened(study.metric.name, 400), color=MUTED, fontsize=11)
        sheet.text(left + plot + 6, 10, shortened(lines.name, right - 8), color=MUTED, fontsize=11)
        sheet.text(left + plot / 2, top + height + 36, along.name, ha="center", color=MUTED)
        return sheet.picture(
            name=f"interaction-{study.factors.index(along)}-{study.factors.index(lines)}",
            title=f"{along.name} × {lines.name}",
            caption=(
                f"Cell means with 95 % intervals over {study.unit}s, averaged over any other factors. Lines that are "
                "not parallel are what an interaction looks like. The vertical axis does not begin at 0."
            ),
            alt=_grid_words(means, along, lines, study.metric.name),
        )


def heat_map(report: Report, down: Factor, across: Factor) -> Picture | None:
    """The mean of each combination of two factors, and how many seeds it is of."""
    study = report.study
    outcomes = collect_outcomes(study, report.trials)
    grid = _grid(outcomes, down, across)
    rows, columns = down.level_names[:MOST_LEVELS], across.level_names[:MOST_LEVELS]
    means = np.array([[found.mean for found in row[: len(columns)]] for row in grid[: len(rows)]])
    if np.isnan(means).all():
        return None
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    decimals = _decimals(means)
    left, top, tall = 150, 46, 40
    wide = min((WIDTH - left) / len(columns), 150)
    with Sheet(top + tall * len(rows) + 6, left + wide * len(columns) + 4) as sheet:
        axes = sheet.axes(left, top, wide * len(columns), tall * len(rows))
        axes.set_axis_off()
        axes.set_xlim(0, len(columns))
        axes.set_ylim(len(rows), 0)
        sheet.text(0, 12, shortened(f"{down.name} ↓   {across.name} →", WIDTH - 20), color=MUTED, fontsize=11)
        for column, name in enumerate(columns):
            middle = left + wide * (column + 0.5)
            sheet.text(middle, top - 10, shortened(name, wide - 6, 11), ha="center", fontsize=11)
        for row, name in enumerate(rows):
            sheet.text(0, top + tall * (row + 0.5), shortened(name, left - 14))
            for column in range(len(columns)):
                found = grid[row][column]
                share = 0.0 if math.isnan(found.mean) else (found.mean - low) / (high - low or 1)
                place = {"xy": (column + 0.02, row + 0.03), "width": 0.96, "height": 0.94}
                _tile(axes, place, 0.06 + 0.44 * share)
                x = left + wide * (column + 0.5)
                sheet.text(
                    x, top + tall * (row + 0.36), format_number(found.mean, decimals), ha="center", fontweight="bold"
                )
                count = f"n {found.n}" + ("" if found.n == len(outcomes.seeds) else f" of {len(outcomes.seeds)}")
                sheet.text(x, top + tall * (row + 0.74), count, ha="center", fontsize=10)
        return sheet.picture(
            name=f"map-{study.factors.index(down)}-{study.factors.index(across)}",
            title=f"Mean by {down.name} and {across.name}",
            caption=(
                f"{study.metric.name}, {format_number(low, decimals)} (light) to {format_number(high, decimals)} "
                f"(dark); n is of {study.unit}s in which every trial of the combination has a value."
            ),
            alt=_grid_words(grid, down, across, study.metric.name),
        )


def spread(places: list[float], apart: float, length: float) -> list[float]:
    """Places on a line moved as little as needed to be so far apart; in the order given.

    >>> spread([10.0, 12.0, 50.0], 16, 100)
    [3.0, 19.0, 50.0]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    groups: list[list[float]] = []  # of wanted first places and sizes, merged while they overlap
    for index in order:
        groups.append([places[index], 1.0])
        while len(groups) > 1 and groups[-2][0] + apart * groups[-2][1] > groups[-1][0]:
            start, size = groups.pop()
            before, count = groups[-1]
            middle = (before * count + (start - apart * count) * size) / (count + size)
            groups[-1] = [middle, count + size]
    moved = [start + apart * step for start, size in groups for step in range(int(size))]
    overflow = max(0.0, (moved[-1] - length) if moved else 0.0)
    result = [0.0] * len(places)
    for index, place in zip(order, moved, strict=True):
        result[index] = place - overflow
    return result


def _grid(outcomes: Outcomes, one: Factor, other: Factor) -> list[list[MeanInterval]]:
    return [
        [
            _interval(level_means(outcomes, {one.name: first, other.name: second}), outcomes.overlap)
            for second in other.level_names
        ]
        for first in one.level_names
    ]


def _interval(values: NDArray[np.float64], overlap: float) -> MeanInterval:
    return mean_interval(values[~np.isnan(values)], overlap=overlap)


def _tile(axes: Any, place: dict[str, Any], strength: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(**place, color=PALETTE[0], alpha=round(strength, 3), linewidth=0))


def _decimals(values: NDArray[np.float64]) -> int:
    finite = values[np.isfinite(values)]
    spread_of = float(np.ptp(finite)) if len(finite) else 0.0
    return min(choose_decimals(finite.tolist(), spread_of / 4, thresholds=()), 6)


def _grid_words(grid: list[list[MeanInterval]], one: Factor, other: Factor, metric: str) -> str:
    decimals = _decimals(np.array([[found.mean for found in row] for row in grid]))
    cells = [
        f"{first} and {second} {format_number(found.mean, decimals)} (n {found.n})"
        for first, row in zip(one.level_names, grid, strict=True)
        for second, found in zip(other.level_names, row, strict=True)
    ]
    shown = "; ".join(cells[:60])
    return f"Mean {metric} by {one.name} and {other.name}: {shown}" + (
        f"; and {format_count(len(cells) - 60, 'cell')} more." if len(cells) > 60 else "."  # noqa: PLR2004
    )

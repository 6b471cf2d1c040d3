"""Figures of the cells: trials as dots, and the means of two factors as lines and as a heat map."""

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

from .colours import choose_looks
from .drawing import INK, MUTED, PALETTE, WIDTH, Picture, Sheet, estimate_width, fit_ticks, shorten
from .paired_values import average_levels

MOST_CELLS = 40
MOST_LEVELS = 12  # of a factor in a map
_MOST_DOTS = 30  # of a cell
_ROW, _LABELS = 25, 270


def cell_dots(report: Report) -> Picture | None:
    """Draw each trial as a dot, with the mean and the 95 % interval of its cell."""
    study = report.study
    outcomes = collect_outcomes(study, report.trials)
    rows = [row for row in range(len(outcomes.cells)) if (outcomes.states[row] == TrialStatus.FINISHED).any()]
    shown = rows[:MOST_CELLS]
    if not shown:
        return None
    looks = choose_looks(study)
    first = study.factors[0].name
    labels = [shorten(", ".join(outcomes.cells[row]), _LABELS - 16) for row in shown]
    left = max(map(estimate_width, labels)) + 16
    height = 14 + _ROW * len(shown) + 44
    decimals = _decimals(outcomes.scores[shown])
    words = []
    with Sheet(height) as sheet:
        axes = sheet.add_axes(left, 10, WIDTH - left - 84, _ROW * len(shown))
        axes.set_ylim(len(shown), 0)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        for index, row in enumerate(shown):
            values = outcomes.scores[row][outcomes.states[row] == TrialStatus.FINISHED]
            found = mean_interval(values, overlap=outcomes.overlap)
            levels = dict(zip(outcomes.factors, outcomes.cells[row], strict=True))
            look = looks[first, levels[first]]
            dots = values[:_MOST_DOTS]
            axes.plot(dots, [index + 0.5] * len(dots), "o", color=look.colour, alpha=0.45, markersize=5)
            if not math.isnan(found.ci_low):
                axes.plot([found.ci_low, found.ci_high], [index + 0.5] * 2, color=look.colour, linewidth=1.5)
            axes.plot([found.mean], [index + 0.5], "|", color=INK, markersize=14, markeredgewidth=2)
            sheet.add_text(0, 10 + _ROW * (index + 0.5), labels[index])
            sheet.add_text(
                WIDTH,
                10 + _ROW * (index + 0.5),
                format_number(found.mean, decimals),
                ha="right",
                fontsize=11.5,
                color=INK,
            )
            words.append(f"{format_cell(levels)}: {format_number(found.mean, decimals)} (n {found.n})")
        fit_ticks(axes, WIDTH - left - 84, 7)
        sheet.add_text(left + (WIDTH - left - 84) / 2, height - 8, study.metric.name, ha="center", color=MUTED)
        sheet.add_text(WIDTH, height - 8, "mean", ha="right", color=MUTED, fontsize=11)
        omitted = len(rows) - len(shown)
        return sheet.to_picture(
            name="cells",
            title="Every trial",
            caption=(
                (
                    f"Each dot is a trial. There are no intervals, since there is one {study.unit}. "
                    if len(study.seeds) == 1
                    else f"Each dot is a {study.unit}, the stroke is the mean, the line its 95 % interval. "
                )
                + f"Rows are the levels of {', '.join(outcomes.factors)}. The axis does not begin at 0."
                + (
                    f" Drawn: the dots of the first {_MOST_DOTS} {study.unit}s."
                    if len(study.seeds) > _MOST_DOTS
                    else ""
                )
                + (
                    f" Drawn: the first {MOST_CELLS} of {len(rows)} cells; trials.csv has all of them."
                    if omitted
                    else ""
                )
            ),
            alt=f"Means of {study.metric.name}. " + "; ".join(words) + ".",
        )


def interaction(report: Report, along: Factor, lines: Factor) -> Picture | None:
    """Draw the cell means with 95 % intervals: one factor along the axis, a line for each level of the other.

    Returns None if there is no value, or one seed, which cannot separate an interaction from noise.
    """
    study = report.study
    if len(study.seeds) == 1:
        return None
    outcomes = collect_outcomes(study, report.trials)
    means = _cell_means(outcomes, along, lines)
    if np.isnan([[found.mean for found in row] for row in means]).all():
        return None
    looks = choose_looks(study)
    names = lines.level_names[:MOST_LEVELS]
    left, top, height = 60, 34, max(250, 20 * len(names))
    right = min(max(estimate_width(lines.name, 11), *map(estimate_width, names)), 200) + 30
    plot = WIDTH - left - right
    points = len(along.level_names)
    with Sheet(top + height + 44) as sheet:
        axes = sheet.add_axes(left, top, plot, height)
        ends = []
        for index, name in enumerate(names):
            look = looks[lines.name, name]
            shift = (index - (len(names) - 1) / 2) * min(0.06, 0.4 / len(names))
            found = [means[column][index] for column in range(points)]
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
        axes.set_xticks(range(points), [shorten(name, plot / points - 8, 11) for name in along.level_names])
        axes.tick_params(axis="x", labelcolor=INK)
        axes.grid(visible=False, axis="x")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high)
        at = spread_labels([(high - value) / (high - low) * height for value, *_ in ends], 16, height)
        for y, (value, x_end, name, colour) in zip(at, ends, strict=True):
            axes.annotate(
                "",
                (x_end, value),
                (points - 1 + 0.3, high - y / height * (high - low)),
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "alpha": 0.6, "shrinkB": 5},
            )
            sheet.add_text(left + plot + 6, top + y, shorten(name, right - 8), fontsize=11.5)
        sheet.add_text(0, 10, shorten(study.metric.name, 400), color=MUTED, fontsize=11)
        sheet.add_text(left + plot + 6, 10, shorten(lines.name, right - 8), color=MUTED, fontsize=11)
        sheet.add_text(left + plot / 2, top + height + 36, along.name, ha="center", color=MUTED)
        return sheet.to_picture(
            name=f"interaction-{study.factors.index(along)}-{study.factors.index(lines)}",
            title=f"{along.name} × {lines.name}",
            caption=(
                f"Cell means with 95 % intervals over {study.unit}s, averaged over any other factors. Lines that are "
                "not parallel indicate an interaction. The vertical axis does not begin at 0."
            ),
            alt=_describe_means(means, along, lines, study.metric.name),
        )


def heat_map(report: Report, down: Factor, across: Factor) -> Picture | None:
    """Draw the mean of each combination of two factors, with its number of seeds."""
    study = report.study
    outcomes = collect_outcomes(study, report.trials)
    grid = _cell_means(outcomes, down, across)
    rows, columns = down.level_names[:MOST_LEVELS], across.level_names[:MOST_LEVELS]
    means = np.array([[found.mean for found in row[: len(columns)]] for row in grid[: len(rows)]])
    if np.isnan(means).all():
        return None
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    decimals = _decimals(means)
    left, top, tall = 150, 46, 40
    wide = min((WIDTH - left) / len(columns), 150)
    with Sheet(top + tall * len(rows) + 6, left + wide * len(columns) + 4) as sheet:
        axes = sheet.add_axes(left, top, wide * len(columns), tall * len(rows))
        axes.set_axis_off()
        axes.set_xlim(0, len(columns))
        axes.set_ylim(len(rows), 0)
        sheet.add_text(0, 12, shorten(f"{down.name} ↓   {across.name} →", WIDTH - 20), color=MUTED, fontsize=11)
        for column, name in enumerate(columns):
            middle = left + wide * (column + 0.5)
            sheet.add_text(middle, top - 10, shorten(name, wide - 6, 11), ha="center", fontsize=11)
        for row, name in enumerate(rows):
            sheet.add_text(0, top + tall * (row + 0.5), shorten(name, left - 14))
            for column in range(len(columns)):
                found = grid[row][column]
                share = 0.0 if math.isnan(found.mean) else (found.mean - low) / (high - low or 1)
                tile = {"xy": (column + 0.02, row + 0.03), "width": 0.96, "height": 0.94}
                _add_tile(axes, tile, 0.06 + 0.44 * share)
                x = left + wide * (column + 0.5)
                sheet.add_text(
                    x, top + tall * (row + 0.36), format_number(found.mean, decimals), ha="center", fontweight="bold"
                )
                count = f"n {found.n}" + ("" if found.n == len(outcomes.seeds) else f" of {len(outcomes.seeds)}")
                sheet.add_text(x, top + tall * (row + 0.74), count, ha="center", fontsize=10)
        return sheet.to_picture(
            name=f"map-{study.factors.index(down)}-{study.factors.index(across)}",
            title=f"Mean by {down.name} and {across.name}",
            caption=(
                f"{study.metric.name}, {format_number(low, decimals)} (light) to {format_number(high, decimals)} "
                f"(dark). n: {study.unit}s for which every trial of the combination has a value."
            ),
            alt=_describe_means(grid, down, across, study.metric.name),
        )


def spread_labels(positions: list[float], apart: float, length: float) -> list[float]:
    """Move positions on a line as little as needed to be `apart` from each other, and keep their order.

    >>> spread_labels([10.0, 12.0, 50.0], 16, 100)
    [3.0, 19.0, 50.0]
    """
    order = sorted(range(len(positions)), key=positions.__getitem__)
    groups: list[list[float]] = []  # wanted first position and size, merged while they overlap
    for index in order:
        groups.append([positions[index], 1.0])
        while len(groups) > 1 and groups[-2][0] + apart * groups[-2][1] > groups[-1][0]:
            start, size = groups.pop()
            before, count = groups[-1]
            middle = (before * count + (start - apart * count) * size) / (count + size)
            groups[-1] = [middle, count + size]
    moved = [start + apart * step for start, size in groups for step in range(int(size))]
    overflow = max(0.0, (moved[-1] - length) if moved else 0.0)
    result = [0.0] * len(positions)
    for index, position in zip(order, moved, strict=True):
        result[index] = position - overflow
    return result


def _cell_means(outcomes: Outcomes, one: Factor, other: Factor) -> list[list[MeanInterval]]:
    return [
        [
            _interval(average_levels(outcomes, {one.name: first, other.name: second}), outcomes.overlap)
            for second in other.level_names
        ]
        for first in one.level_names
    ]


def _interval(values: NDArray[np.float64], overlap: float) -> MeanInterval:
    return mean_interval(values[~np.isnan(values)], overlap=overlap)


def _add_tile(axes: Any, tile: dict[str, Any], strength: float) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(**tile, color=PALETTE[0], alpha=round(strength, 3), linewidth=0))


def _decimals(values: NDArray[np.float64]) -> int:
    finite = values[np.isfinite(values)]
    spread = float(np.ptp(finite)) if len(finite) else 0.0
    return min(choose_decimals(finite.tolist(), spread / 4, thresholds=()), 6)


def _describe_means(grid: list[list[MeanInterval]], one: Factor, other: Factor, metric: str) -> str:
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

"""Each seed as a line from the reference to a level: the pairing that contrasts rest on."""

import math

import numpy as np

from experiments.study.study import Factor
from reports.analysis.cells import collect_outcomes
from reports.report import Report
from reports.wording.numbers import format_count

from .colours import looks_of
from .drawing import INK, MUTED, WIDTH, Picture, Sheet, padded_limits, shortened
from .paired_values import paired_values

MOST_PANELS = 8
_MOST_SEEDS = 30  # thin lines in a panel
_COLUMNS, _PANEL, _GAP, _LEFT = 4, 190, 56, 52


def slopes(report: Report, factor: Factor) -> Picture | None:
    """One panel a level of the factor, one line a seed; None where fewer than two seeds have both levels."""
    study = report.study
    outcomes = collect_outcomes(study, report.trials)
    values = {
        level: paired_values(outcomes, factor.name, level, factor.reference)
        for level in factor.level_names
        if level != factor.reference
    }
    values = {level: pairs for level, pairs in values.items() if pairs.shape[1] > 1}
    if not values:
        return None
    shown = dict(list(values.items())[:MOST_PANELS])
    looks = looks_of(study)
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    across = min((WIDTH - _LEFT) / columns, 240)
    with Sheet(50 + rows * (_PANEL + _GAP) - _GAP + 4, _LEFT + across * columns) as sheet:
        sheet.text(0, 10, shortened(study.metric.name, 400), color=MUTED, fontsize=11)
        drawn = np.concatenate(list(shown.values()), axis=1)
        limits = padded_limits(float(drawn.min()), float(drawn.max()))
        for place, (level, pairs) in enumerate(shown.items()):
            row, column = divmod(place, columns)
            top = 50 + row * (_PANEL + _GAP)
            axes = sheet.axes(_LEFT + column * across, top, across - 24, _PANEL - 24)
            look = looks[factor.name, level]
            thin = pairs[:, :_MOST_SEEDS]
            axes.plot([0, 1], thin, color=look.colour, linewidth=1, alpha=0.55)
            axes.plot([0] * thin.shape[1], thin[0], "o", color=MUTED, markersize=4)
            axes.plot([1] * thin.shape[1], thin[1], look.marker, color=look.colour, markersize=4)
            axes.plot([0, 1], pairs.mean(axis=1), color=INK, linewidth=2.5)
            axes.set_xlim(-0.25, 1.25)
            axes.set_ylim(*limits)
            axes.set_xticks([])
            axes.grid(visible=False, axis="x")
            axes.locator_params(axis="y", nbins=5)
            if column:
                axes.tick_params(labelleft=False)
            x, y, step = _LEFT + column * across, top + _PANEL - 10, (across - 24) / 1.5
            room = across - step - 6  # to the middle of the next panel's first label
            sheet.text(x + step * 0.25, y, shortened(factor.reference, room, 11), ha="center", fontsize=11)
            sheet.text(x + step * 1.25, y, shortened(level, room, 12), ha="center", fontsize=11, fontweight="bold")
            up = int((pairs[1] > pairs[0]).sum())
            sheet.text(x, top - 14, f"{up} of {pairs.shape[1]} up", color=MUTED, fontsize=11)
        left_out = len(values) - len(shown)
        return sheet.picture(
            name=f"slopes-{study.factors.index(factor)}",
            title=f"{factor.name}: each level against {factor.reference}",
            caption=(
                f"Thin lines join the same {study.unit}; the thick one is the mean. Parallel lines are what "
                "makes a paired comparison sharp. The vertical axis does not begin at 0."
                + (
                    f" Lines are drawn for the first {_MOST_SEEDS} {study.unit}s; the mean is of all."
                    if max(pairs.shape[1] for pairs in shown.values()) > _MOST_SEEDS
                    else ""
                )
                + (f" The first {MOST_PANELS} levels are drawn; trials.csv has all." if left_out else "")
            ),
            alt=" ".join(
                f"{level} is above {factor.reference} in {int((pairs[1] > pairs[0]).sum())} of "
                f"{format_count(pairs.shape[1], study.unit)}, mean {pairs[1].mean():.4g} against {pairs[0].mean():.4g}."
                for level, pairs in shown.items()
            ),
        )

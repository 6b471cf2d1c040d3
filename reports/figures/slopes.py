"""Slope charts: a line for each seed from the reference to a level."""

import math

import numpy as np

from experiments.study.study import Factor
from reports.analysis.cells import collect_outcomes
from reports.report import Report
from reports.wording.numbers import format_count

from .colours import choose_looks
from .drawing import INK, MUTED, WIDTH, Picture, Sheet, pad_limits, shorten
from .paired_values import pair_values

MOST_PANELS = 8
_MOST_SEEDS = 30  # thin lines in a panel
_COLUMNS, _PANEL, _GAP, _LEFT = 4, 190, 56, 52


def slopes(report: Report, factor: Factor) -> Picture | None:
    """Draw a panel for each level of the factor, with a line for each seed.

    Returns None if fewer than two seeds have values of both levels.
    """
    study = report.study
    outcomes = collect_outcomes(study, report.trials)
    values = {
        level: pair_values(outcomes, factor.name, level, factor.reference)
        for level in factor.level_names
        if level != factor.reference
    }
    values = {level: pairs for level, pairs in values.items() if pairs.shape[1] > 1}
    if not values:
        return None
    shown = dict(list(values.items())[:MOST_PANELS])
    looks = choose_looks(study)
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    across = min((WIDTH - _LEFT) / columns, 240)
    with Sheet(50 + rows * (_PANEL + _GAP) - _GAP + 4, _LEFT + across * columns) as sheet:
        sheet.add_text(0, 10, shorten(study.metric.name, 400), color=MUTED, fontsize=11)
        drawn = np.concatenate(list(shown.values()), axis=1)
        limits = pad_limits(float(drawn.min()), float(drawn.max()))
        for index, (level, pairs) in enumerate(shown.items()):
            row, column = divmod(index, columns)
            top = 50 + row * (_PANEL + _GAP)
            axes = sheet.add_axes(_LEFT + column * across, top, across - 24, _PANEL - 24)
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
            sheet.add_text(x + step * 0.25, y, shorten(factor.reference, room, 11), ha="center", fontsize=11)
            sheet.add_text(x + step * 1.25, y, shorten(level, room, 12), ha="center", fontsize=11, fontweight="bold")
            up = int((pairs[1] > pairs[0]).sum())
            sheet.add_text(x, top - 14, f"higher in {up} of {pairs.shape[1]}", color=MUTED, fontsize=11)
        left_out = len(values) - len(shown)
        return sheet.to_picture(
            name=f"slopes-{study.factors.index(factor)}",
            title=f"{factor.name}: each level against {factor.reference}",
            caption=(
                f"Each thin line is a {study.unit}; the thick line is the mean. The more parallel the lines, the more "
                "precise the paired comparison. The vertical axis does not begin at 0."
                + (
                    f" Drawn: the first {_MOST_SEEDS} {study.unit}s; the mean is over all of them."
                    if max(pairs.shape[1] for pairs in shown.values()) > _MOST_SEEDS
                    else ""
                )
                + (f" Drawn: the first {MOST_PANELS} levels; trials.csv has all of them." if left_out else "")
            ),
            alt=" ".join(
                f"{level} is above {factor.reference} in {int((pairs[1] > pairs[0]).sum())} of "
                f"{format_count(pairs.shape[1], study.unit)}, mean {pairs[1].mean():.4g} against {pairs[0].mean():.4g}."
                for level, pairs in shown.items()
            ),
        )

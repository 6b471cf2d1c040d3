"""Forest plot: the main effects with their intervals and the margin."""

from typing import Any, cast

import pandas as pd

from reports.report import Report
from reports.wording.numbers import format_count
from reports.wording.verdicts import BELOW_MARGIN, UNDECIDED, format_difference

from .colours import choose_looks
from .drawing import INK, MUTED, TEXT, WASH, WIDTH, Picture, Sheet, estimate_width, fit_ticks, shorten

MOST_ROWS = 40
_ROW, _TOP, _BOTTOM = 27, 34, 46
_LABELS, _VERDICTS = 230, 96  # widths of columns of text
_NARROWEST = 160  # of the plot
_HEADER = "difference, 95 % interval"


def forest(report: Report) -> Picture | None:
    """Draw each main effect with its 95 % interval, and the margin as a band; None if there is no effect."""
    effects = report.main_effects[report.main_effects["mean_difference"].notna()]
    if effects.empty:
        return None
    study = report.study
    drawn = effects.head(MOST_ROWS)
    lines: list[tuple[str, dict[str, Any] | None]] = []
    for factor, rows in drawn.groupby("factor", sort=False, observed=True):
        reference = rows["reference"].iloc[0]
        lines.append((f"{factor}, against {reference}", None))
        lines += [(str(row["level"]), cast("dict[str, Any]", row)) for row in rows.to_dict("records")]
    looks = choose_looks(study)
    widths = [estimate_width(text) * 1.08 + 6 if row is None else estimate_width(text) + 30 for text, row in lines]
    margin = study.metric.margin
    texts = [estimate_width(_numbers(row, margin), 11.5) for _, row in lines if row is not None]
    numbers = max(estimate_width(_HEADER, 11), *texts) + 12
    left = min(max(widths), _LABELS, WIDTH - numbers - _VERDICTS - 24 - _NARROWEST)
    plot = WIDTH - left - numbers - _VERDICTS - 24
    height = _TOP + _ROW * len(lines) + _BOTTOM
    with Sheet(height) as sheet:
        axes = sheet.add_axes(left, _TOP, plot, _ROW * len(lines))
        axes.set_ylim(len(lines), 0)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        if margin is not None:
            axes.axvspan(-margin, margin, color=WASH, zorder=0, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
        right = left + plot + 14
        sheet.add_text(right, _TOP - 14, _HEADER, color=MUTED, fontsize=11)
        sheet.add_text(right + numbers, _TOP - 14, "verdict", color=MUTED, fontsize=11)
        for index, (label, row) in enumerate(lines):
            y = _TOP + _ROW * (index + 0.5)
            if row is None:
                sheet.add_text(0, y, shorten(label, left - 6, 1.08 * TEXT), fontweight="bold")
                continue
            look = looks[row["factor"], row["level"]]
            if pd.notna(row["ci_low"]):
                axes.plot([row["ci_low"], row["ci_high"]], [index + 0.5] * 2, color=look.colour, linewidth=2.5)
            axes.plot([row["mean_difference"]], [index + 0.5], look.marker, color=look.colour, markersize=8)
            sheet.add_text(12, y, shorten(label, left - 24))
            sheet.add_text(right, y, _numbers(row, margin), fontsize=11.5)
            is_decided = row["verdict"] != UNDECIDED
            style: dict[str, Any] = {
                "color": INK if is_decided else MUTED,
                "fontweight": "bold" if is_decided else "normal",
            }
            sheet.add_text(right + numbers, y, row["verdict"], fontsize=11.5, **style)
        low, high = axes.get_xlim()
        low, high = min(low, 0), max(high, 0)
        axes.set_xlim(low, high)
        fit_ticks(axes, plot, 6)
        if margin is not None:
            _label_margin(sheet, margin, left, plot, -low / (high - low) * plot)
        sheet.add_text(
            left + plot / 2, height - 10, f"difference in {shorten(study.metric.name, 200)}", ha="center", color=MUTED
        )
        return sheet.to_picture(
            name="forest",
            title="Main effects",
            caption=_caption(report, len(effects)),
            alt=f"Forest plot of {format_count(len(drawn), 'main effect')}. " + " ".join(drawn["sentence"]),
        )


def _label_margin(sheet: Sheet, margin: float, left: float, plot: float, zero: float) -> None:
    """Label the band around `zero`, within the width of the plot, since there are other headers next to it."""
    words = f"margin ±{margin:g}"
    half = estimate_width(words, 10) / 2
    sheet.add_text(left + min(max(zero, half), plot - half), _TOP - 10, words, ha="center", fontsize=10, color=MUTED)


def _numbers(row: dict[str, Any], margin: float | None) -> str:
    mean, low, high = format_difference(row["mean_difference"], row["ci_low"], row["ci_high"], margin)
    text = f"{mean} [{low}, {high}]" if pd.notna(row["ci_low"]) else mean
    return text.replace("-", "−") if "e" not in text else text


def _caption(report: Report, num_effects: int) -> str:
    study = report.study
    better = "right" if study.metric.goal == "max" else "left"
    text = (
        f"Mean difference to the reference, paired by {study.unit}, with its unadjusted 95 % interval. Better "
        f"values are to the {better}. The axis covers the range of the data."
    )
    if study.metric.margin is not None:
        text += f" The band is the margin of ±{study.metric.margin}: smaller differences are practically irrelevant."
    if report.main_effects["below_margin"].any():
        text += f" The table of verdicts names the differences shown to be {BELOW_MARGIN}."
    if num_effects > MOST_ROWS:
        text += f" Drawn: the first {MOST_ROWS} of {num_effects} main effects; contrasts.csv has all of them."
    return text

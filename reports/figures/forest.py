"""Main effects with their intervals beside the margin: the figure to look at first."""

from typing import Any, cast

import pandas as pd

from reports.report import Report
from reports.wording.numbers import format_count
from reports.wording.verdicts import BELOW_MARGIN, UNDECIDED, format_difference

from .colours import looks_of
from .drawing import INK, MUTED, TEXT, WASH, WIDTH, Picture, Sheet, fit_ticks, shortened, text_width

MOST_ROWS = 40
_ROW, _TOP, _BOTTOM = 27, 34, 46
_LABELS, _VERDICTS = 230, 96  # widths of columns of text
_NARROWEST = 160  # of the plot
_HEADER = "difference, 95 % interval"


def forest(report: Report) -> Picture | None:
    """Every main effect with its 95 % interval, the margin as a band; None where there is no effect to draw."""
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
    looks = looks_of(study)
    widths = [text_width(text) * 1.08 + 6 if row is None else text_width(text) + 30 for text, row in lines]
    margin = study.metric.margin
    texts = [text_width(_numbers(row, margin), 11.5) for _, row in lines if row is not None]
    numbers = max(text_width(_HEADER, 11), *texts) + 12
    left = min(max(widths), _LABELS, WIDTH - numbers - _VERDICTS - 24 - _NARROWEST)
    plot = WIDTH - left - numbers - _VERDICTS - 24
    height = _TOP + _ROW * len(lines) + _BOTTOM
    with Sheet(height) as sheet:
        axes = sheet.axes(left, _TOP, plot, _ROW * len(lines))
        axes.set_ylim(len(lines), 0)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        if margin is not None:
            axes.axvspan(-margin, margin, color=WASH, zorder=0, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
        right = left + plot + 14
        sheet.text(right, _TOP - 14, _HEADER, color=MUTED, fontsize=11)
        sheet.text(right + numbers, _TOP - 14, "verdict", color=MUTED, fontsize=11)
        for place, (label, row) in enumerate(lines):
            y = _TOP + _ROW * (place + 0.5)
            if row is None:
                sheet.text(0, y, shortened(label, left - 6, 1.08 * TEXT), fontweight="bold")
                continue
            look = looks[row["factor"], row["level"]]
            if pd.notna(row["ci_low"]):
                axes.plot([row["ci_low"], row["ci_high"]], [place + 0.5] * 2, color=look.colour, linewidth=2.5)
            axes.plot([row["mean_difference"]], [place + 0.5], look.marker, color=look.colour, markersize=8)
            sheet.text(12, y, shortened(label, left - 24))
            sheet.text(right, y, _numbers(row, margin), fontsize=11.5)
            decided = row["verdict"] != UNDECIDED
            style: dict[str, Any] = {"color": INK if decided else MUTED, "fontweight": "bold" if decided else "normal"}
            sheet.text(right + numbers, y, row["verdict"], fontsize=11.5, **style)
        low, high = axes.get_xlim()
        low, high = min(low, 0), max(high, 0)
        axes.set_xlim(low, high)
        fit_ticks(axes, plot, 6)
        if margin is not None:
            _label_margin(sheet, margin, left, plot, -low / (high - low) * plot)
        sheet.text(
            left + plot / 2, height - 10, f"difference in {shortened(study.metric.name, 200)}", ha="center", color=MUTED
        )
        return sheet.picture(
            name="forest",
            title="Main effects",
            caption=_caption(report, len(effects)),
            alt=f"Forest plot of {format_count(len(drawn), 'main effect')}. " + " ".join(drawn["sentence"]),
        )


def _label_margin(sheet: Sheet, margin: float, left: float, plot: float, zero: float) -> None:
    """Above the band around `zero`, but never beyond the plot, where the other headers are."""
    words = f"margin ±{margin:g}"
    half = text_width(words, 10) / 2
    sheet.text(left + min(max(zero, half), plot - half), _TOP - 10, words, ha="center", fontsize=10, color=MUTED)


def _numbers(row: dict[str, Any], margin: float | None) -> str:
    mean, low, high = format_difference(row["mean_difference"], row["ci_low"], row["ci_high"], margin)
    text = f"{mean} [{low}, {high}]" if pd.notna(row["ci_low"]) else mean
    return text.replace("-", "−") if "e" not in text else text


def _caption(report: Report, num_effects: int) -> str:
    study = report.study
    better = "right" if study.metric.goal == "max" else "left"
    text = (
        f"Mean difference to the reference within each {study.unit}, with its 95 % interval, before any adjustment. "
        f"Better is to the {better}; the axis begins and ends where the data do."
    )
    if study.metric.margin is not None:
        text += f" The band is the margin of ±{study.metric.margin}: differences inside it do not matter to the study."
    if report.main_effects["below_margin"].any():
        text += f" Where a difference is shown to be {BELOW_MARGIN}, the verdict table says so."
    if num_effects > MOST_ROWS:
        text += f" The first {MOST_ROWS} of {num_effects} main effects are drawn; all of them are in contrasts.csv."
    return text

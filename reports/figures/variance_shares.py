"""Shares of the variance of each factor, each interaction and the residual."""

import pandas as pd

from reports.report import Report

from .drawing import INK, MUTED, PALETTE, WIDTH, Picture, Sheet, estimate_width, shorten

MOST_ROWS = 24
_ROW, _LABELS = 26, 220


def shares(report: Report) -> Picture | None:
    """Draw a bar with its interval for each source of variance; None if shares cannot be estimated."""
    table = report.variance_shares
    if table.empty:
        return None
    rows = table.head(MOST_ROWS).to_dict("records")
    left = min(max(estimate_width(str(row["source"])) for row in rows) + 14, _LABELS)
    height = 10 + _ROW * len(rows) + 42
    with Sheet(height) as sheet:
        plot = WIDTH - left - 90
        axes = sheet.add_axes(left, 10, plot, _ROW * len(rows))
        axes.set_ylim(len(rows), 0)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        for index, row in enumerate(rows):
            is_rest = str(row["source"]).lower() in {"residual", "seed", "fold"}
            colour = MUTED if is_rest else PALETTE[0]
            axes.barh(index + 0.5, 100 * row["share"], height=0.56, color=colour, alpha=0.75, linewidth=0)
            if pd.notna(row["share_low"]) and pd.notna(row["share_high"]):
                axes.plot(
                    [100 * row["share_low"], 100 * row["share_high"]], [index + 0.5] * 2, color=INK, linewidth=1.3
                )
            y = 10 + _ROW * (index + 0.5)
            sheet.add_text(0, y, shorten(str(row["source"]), left - 10))
            sheet.add_text(WIDTH, y, f"{100 * row['share']:.1f} %", ha="right", fontsize=11.5)
        axes.set_xlim(0, min(max(axes.get_xlim()[1], 1), 105))
        sheet.add_text(left + plot / 2, height - 8, "share of the variance, %", ha="center", color=MUTED)
        return sheet.to_picture(
            name="shares",
            title="Where the variance comes from",
            caption=(
                "Share of the sum of squares of factors, interactions, and seeds and residual (grey), with 95 % "
                "intervals. Shares depend on the levels that were chosen."
                + ("" if len(table) <= MOST_ROWS else f" Drawn: the first {MOST_ROWS} of {len(table)} sources.")
            ),
            alt="Shares of the variance: "
            + "; ".join(f"{row['source']} {100 * row['share']:.1f} %" for row in rows)
            + ".",
        )

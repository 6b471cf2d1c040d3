"""Draw docs/dashboard.svg, the picture of a workspace: python docs/make_dashboard_picture.py runs/quickstart.

No screenshot: what `ablate wandb dashboard --dry-run` prints, drawn with the numbers of the ledger, panel by panel as
the JSON says (which metric over what, in which groups, with which band), laid out as W&B lays out a workspace.
"""

import io
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import Report, build_report
from reports.wandb import get_factor_keys, resolve_destination
from reports.wandb.dashboard.build import build_dashboard, to_json
from reports.wording.numbers import format_count

WIDTH, SIDE, PAD, GAP = 1180, 236, 18, 14  # pixels, as everything below
HEADER, LINE, PANEL_HEIGHT = 34, 16, 184
INK, MUTED, RULE, WASH, BACK = "#1b1f24", "#626a75", "#d3d8de", "#f4f6f8", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b65a91", "#56a8d8", "#c88500", "#882255", "#7c7c1f")
CHARACTER = 5.9  # of a table
MARKDOWN, BAR = "Markdown Panel", "Bar Chart"
FONTS = "DejaVu Sans, Verdana, sans-serif"  # the first is what was measured with
CAPTION = (
    "Drawn by docs/make_dashboard_picture.py from the JSON of `ablate wandb dashboard --dry-run` and the ledger; "
    "not a screenshot."
)
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dashboard",
    "font.family": ["DejaVu Sans"],
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "font.size": 9,
}


class Sheet:
    """A page of pixels with its origin at the top left."""

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor=BACK)
        self.page = self.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        self.page.axis("off")

    def text(self, x: float, y: float, words: str, **options: Any) -> None:
        """Words, their middle at `y`."""
        self.page.text(x, y, words, **({"va": "center", "fontsize": 10} | options))

    def box(self, x: float, y: float, width: float, height: float, colour: str, edge: str = "none") -> None:
        """A filled box."""
        self.page.add_patch(mpl.patches.Rectangle((x, y), width, height, facecolor=colour, edgecolor=edge, lw=0.8))

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """A plot whose area has this place and size."""
        place = (x / WIDTH, 1 - (y + height) / self.height, width / WIDTH, height / self.height)
        return self.figure.add_axes(place, facecolor="none")


class Picture:
    """A workspace's JSON and the ledger that its panels show."""

    def __init__(self, report: Report, content: dict[str, Any]) -> None:
        self.report = report
        self.title = content["displayName"]
        part = content["spec"]["section"]
        self.sections = part["panelBankConfig"]["sections"]
        self.runs = part["runSets"][0]
        keys = get_factor_keys(factor.name for factor in report.study.factors)
        self.factor_at = {f"factors.value.{key}": factor for factor, key in keys.items()}

    def draw(self) -> Figure:
        """The workspace with the sections that are open."""
        lines = [self._lines(section) for section in self.sections]
        heights = [
            self._height(section, found) if section["isOpen"] else 0.0
            for section, found in zip(self.sections, lines, strict=True)
        ]
        sheet = Sheet(2 * PAD + sum(heights) + HEADER * len(heights) + 2 * LINE)
        self._draw_runs(sheet)
        y = float(PAD)
        for section, height, words in zip(self.sections, heights, lines, strict=True):
            mark = "▾" if section["isOpen"] else "▸"
            sheet.text(SIDE + PAD, y + 12, f"{mark} {section['name']}", fontsize=12, fontweight="bold")
            sheet.text(WIDTH - PAD, y + 12, format_count(len(section["panels"]), "panel"), ha="right", color=MUTED)
            y += HEADER
            if height:
                self._draw_section(sheet, section, y - 6, words)
            y += height
        sheet.text(SIDE + PAD, sheet.height - LINE, CAPTION, color=MUTED, fontsize=9)
        return sheet.figure

    def _columns(self, section: dict[str, Any]) -> int:
        return int(section["flowConfig"]["columnsPerPage"])

    def _height(self, section: dict[str, Any], words: list[str | list[str]]) -> float:
        if words:
            return len(words) * LINE + 2 * GAP
        rows = -(-len(section["panels"]) // self._columns(section))
        return rows * (PANEL_HEIGHT + GAP)

    def _lines(self, section: dict[str, Any]) -> list[str | list[str]]:
        """The lines of a section of Markdown, those of tables as cells; nothing for other sections."""
        found: list[str | list[str]] = []
        blocks = [panel["config"].get("value", "") for panel in section["panels"] if panel["viewType"] == MARKDOWN]
        for block in "\n\n".join(blocks).split("\n\n") if blocks else []:
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
            if block.startswith("|"):
                found += [row for row in rows if set("".join(row)) - set("-:")]
            else:
                found += textwrap.wrap(re.sub(r"\*\*|\\", "", block), 158)
            found.append("")
        return found[:-1]

    def _draw_runs(self, sheet: Sheet) -> None:
        """The list of runs at the left: the groups of the run set, each with its number of runs and its mean."""
        sheet.box(0, 0, SIDE, sheet.height, WASH)
        sheet.text(PAD, 26, self.title, fontsize=12, fontweight="bold")
        names = [self.factor_at[key["name"]] for key in self.runs["grouping"]]
        metric = self.report.study.metric.name
        sheet.text(PAD, 50, f"{self.runs['name']}: grouped by {', '.join(names)}", fontsize=9, color=MUTED)
        sheet.text(SIDE - PAD, 68, f"mean {metric}", fontsize=9, color=MUTED, ha="right")
        means = self.report.trials.groupby(names, observed=True)[metric].agg(["mean", "size"])
        (order,) = self.runs["sort"]["keys"]
        for number, (levels, row) in enumerate(means.sort_values("mean", ascending=order["ascending"]).iterrows()):
            y = 90 + 20 * number
            if y > sheet.height - PAD:
                break
            label = ", ".join(map(str, levels)) if isinstance(levels, tuple) else str(levels)
            sheet.text(PAD, y, f"{label}  ({int(row['size'])})")
            sheet.text(SIDE - PAD, y, f"{row['mean']:.3f}", ha="right")

    def _draw_section(self, sheet: Sheet, section: dict[str, Any], top: float, words: list[str | list[str]]) -> None:
        columns, left = self._columns(section), SIDE + PAD
        width = (WIDTH - PAD - left - GAP * (columns - 1)) / columns
        if words:
            sheet.box(left, top, width, len(words) * LINE + 1.4 * GAP, BACK, RULE)
        cells = [line for line in words if not isinstance(line, str)]
        widths = [CHARACTER * max(map(len, column)) + 22 for column in zip(*cells, strict=True)]
        for number, line in enumerate(words):
            x, y = left + GAP, top + GAP + LINE * number + 2
            if isinstance(line, str):
                sheet.text(x, y, line, fontsize=9.5)
                continue
            for place, (cell, room) in enumerate(zip(line, widths, strict=True)):
                is_words = place in {0, len(line) - 1}
                sheet.text(x if is_words else x + room - 22, y, cell, fontsize=9.5, ha="left" if is_words else "right")
                x += room
        for number, panel in enumerate([] if words else section["panels"]):
            x = left + (number % columns) * (width + GAP)
            y = top + (number // columns) * (PANEL_HEIGHT + GAP)
            sheet.box(x, y, width, PANEL_HEIGHT, BACK, RULE)
            config = panel["config"]
            for line, title in enumerate(config["chartTitle"].split(": ", 1)):
                colour = MUTED if line else INK
                sheet.text(x + width / 2, y + 14 + 13 * line, title, ha="center", fontsize=10 - line, color=colour)
            is_bar = panel["viewType"] == BAR
            room = 74 if is_bar else 40
            axes = sheet.axes(x + room, y + 38, width - room - 14, PANEL_HEIGHT - (62 if is_bar else 94))
            (self._draw_bars if is_bar else self._draw_curves)(axes, config)

    def _groups(self, frame: pd.DataFrame, config: dict[str, Any]) -> Any:
        by = [config["groupBy"]] if "groupBy" in config else [key["name"] for key in self.runs["grouping"]]
        return frame.groupby([self.factor_at[key] for key in by], observed=True)

    def _draw_bars(self, axes: Axes, config: dict[str, Any]) -> None:
        (metric,) = config["metrics"]
        values = self._groups(self.report.trials, config)[metric].agg(["mean", "std"])
        labels = [" ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in values.index]
        colours = [COLOURS[place % len(COLOURS)] for place in range(len(values))]
        axes.barh(labels, values["mean"], xerr=values["std"], color=colours, height=0.6, ecolor=INK)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(length=0)

    def _draw_curves(self, axes: Axes, config: dict[str, Any]) -> None:
        (metric,) = config["metrics"]
        for place, (name, group) in enumerate(self._groups(self.report.curves, config)):
            each = group.groupby(config["xAxis"])[metric].agg(["mean", "std"])
            colour = COLOURS[place % len(COLOURS)]
            axes.plot(each.index, each["mean"], color=colour, lw=1.6, label=", ".join(map(str, name)))
            if config["groupArea"] == "stddev":
                axes.fill_between(
                    each.index, each["mean"] - each["std"], each["mean"] + each["std"], color=colour, alpha=0.2, lw=0
                )
        axes.set_xlabel(config["xAxis"], labelpad=1)
        axes.tick_params(length=0)
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=4, frameon=False, fontsize=9, handlelength=1.2
        )


def picture_of(directory: Path) -> str:
    """The SVG for a study's folder; the same every time."""
    report = build_report(directory)
    content = json.loads(to_json(build_dashboard(report, resolve_destination(directory, report.study.name))))
    with mpl.rc_context(STYLE):
        drawn = io.StringIO()
        Picture(report, content["workspace"]).draw().savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :]  # what stands before names an address, and a picture fetches nothing
    for needless in (r"<metadata>.*?</metadata>", r"<!--.*?-->", r' transform="rotate\(-0 [^"]*"', r'<g id="[^"]*"/>'):
        svg = re.sub(needless, "", svg, flags=re.DOTALL)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg).replace("<svg ", f'<svg font-family="{FONTS}" ', 1)
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d)\d+", r"\1", tag[0]), re.sub(r"\s*\n\s*", "\n", svg))


def main() -> None:
    """Draw the folder given as the first argument."""
    svg = picture_of(Path(sys.argv[1]))
    Path(__file__).with_name("dashboard.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()

"""The tables of the page: cells with what is read, and what the column is sorted by."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.study.study import Metric
from experiments.text import visible
from reports.analysis.cells import MISSING
from reports.formats.text_tables import MARK
from reports.wording.numbers import ABSENT, decimals_for, number, p_text
from reports.wording.verdicts import BELOW_MARGIN, difference_text

MOST_ROWS = 500
Row = Mapping[Hashable, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is read, the number it is sorted by (None: by its text), the verdict that it is, and a remark on it."""

    text: str
    value: float | None = None
    verdict: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the page. `is_number` aligns a column to the right; `note` says what is missing from it."""

    caption: str
    headers: tuple[str, ...]
    is_number: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Headers with their alignment."""
        return list(zip(self.headers, self.is_number, strict=True))


def name(text: object) -> Cell:
    """A name, on one line."""
    return Cell(text=visible(str(text)))


def figure(value: float, text: str | None = None) -> Cell:
    """A number, by default with five significant digits; NaN is shown as absent and sorted last."""
    if pd.isna(value):
        return Cell(text=ABSENT, value=math.nan)
    return Cell(text=signs(f"{value:.5g}" if text is None else text), value=float(value))


def signs(text: str) -> str:
    """Numbers with a minus sign instead of a hyphen.

    >>> signs("-0.03 to +0.05, one-at-a-time, 1e-05")
    '−0.03 to +0.05, one-at-a-time, 1e−05'
    """
    parts = text.split("-")
    joined = parts[0]
    for part in parts[1:]:
        before = joined[-1:]
        is_sign = part[:1].isdigit() and (not before or before in " ([<=" or _is_exponent(joined))
        joined += ("−" if is_sign else "-") + part
    return joined


def table(
    caption: str, rows: Sequence[Row], columns: Sequence[tuple[str, bool, Callable[[Row], Cell]]], note: str = ""
) -> Table:
    """A table from rows of a frame; columns: header, whether a number, and what makes its cell."""
    return Table(
        caption=caption,
        headers=tuple(header for header, _, _ in columns),
        is_number=tuple(is_number for _, is_number, _ in columns),
        rows=tuple(tuple(make(row) for _, _, make in columns) for row in rows[:MOST_ROWS]),
        note=note if len(rows) <= MOST_ROWS else f"The first {MOST_ROWS:,} of {len(rows):,} rows. {note}".strip(),
    )


def verdict_table(contrasts: pd.DataFrame, metric: Metric, unit: str, caption: str) -> Table:
    """One row a contrast: what is compared, verdict, difference, its interval, adjusted p, n, what could be seen."""
    columns: list[tuple[str, bool, Callable[[Row], Cell]]] = [("factor", False, lambda row: name(row["factor"]))]
    if contrasts["context"].any():
        columns.append(("where", False, lambda row: name(row["context"])))
    columns += [
        ("level − reference", False, lambda row: name(f"{row['level']} − {row['reference']}")),
        ("verdict", False, _verdict),
        ("difference", True, lambda row: figure(row["mean_difference"], _difference(row, metric)[0])),
        ("95 % interval", True, lambda row: figure(row["ci_low"], " to ".join(_difference(row, metric)[1:]))),
        ("p (Holm)", True, lambda row: figure(row["p_adjusted"], p_text(row["p_adjusted"]))),
        (f"{unit}s", True, _count),
    ]
    if "mde" in contrasts:
        columns.append(("detectable", True, lambda row: figure(row["mde"], f"±{row['mde']:.2g}")))
    note = f"{MARK} marks {unit}s left out." if contrasts["num_seeds_left_out"].any() else ""
    return table(caption, contrasts.to_dict("records"), columns, note)


def detail_table(contrasts: pd.DataFrame) -> Table:
    """The rest of what was computed for each contrast, as far as it was."""
    optional: dict[str, tuple[str, Callable[[Row], Cell]]] = {
        "p_value": ("p", lambda row: figure(row["p_value"], p_text(row["p_value"]))),
        "effect_size": ("d_z", lambda row: figure(row["effect_size"], number(row["effect_size"], 2, signed=True))),
        "hedges_g": ("Hedges g", lambda row: figure(row["hedges_g"], number(row["hedges_g"], 2, signed=True))),
        "sd_difference": ("SD of difference", lambda row: figure(row["sd_difference"], f"{row['sd_difference']:.3g}")),
        "seed_correlation": (
            "correlation",
            lambda row: figure(row["seed_correlation"], f"{row['seed_correlation']:.2f}"),
        ),
        "wins": (
            "better / worse / same",
            lambda row: figure(row["wins"], f"{row['wins']} / {row['losses']} / {row['ties']}"),
        ),
        "sign_flip_p": (
            "sign flip p (floor)",
            lambda row: figure(row["sign_flip_p"], f"{p_text(row['sign_flip_p'])} ({p_text(row['sign_flip_floor'])})"),
        ),
        "bootstrap_low": (
            "bootstrap-t interval",
            lambda row: figure(row["bootstrap_low"], f"{row['bootstrap_low']:+.3g} to {row['bootstrap_high']:+.3g}"),
        ),
        "more_seeds": ("more needed", lambda row: figure(row["more_seeds"])),
    }
    columns: list[tuple[str, bool, Callable[[Row], Cell]]] = [
        ("contrast", False, lambda row: name(f"{row['factor']}: {row['level']} − {row['reference']}")),
        *((header, True, make) for key, (header, make) in optional.items() if key in contrasts),
    ]
    return table("More about each main effect", contrasts.to_dict("records"), columns)


def cell_table(cells: pd.DataFrame, unit: str) -> Table:
    """One row a cell: its levels, n, mean, SD, interval, and how many trials are missing and why."""
    factors = [str(factor) for factor in cells.index.names]
    rows = [
        {"levels": levels, **row} for levels, row in zip(cells.index, cells.to_dict("records"), strict=True)
    ]  # a factor may be called as a column is
    decimals = max(map(_decimals, rows))  # alike in all rows, so that they can be compared at a glance
    columns: list[tuple[str, bool, Callable[[Row], Cell]]] = [
        *((factor, False, _level(place)) for place, factor in enumerate(factors)),
        (f"{unit}s", True, lambda row: figure(row["n"], _of(row["n"], row["planned"]))),
        ("mean", True, lambda row: figure(row["mean"], number(row["mean"], decimals))),
        ("SD", True, lambda row: figure(row["sd"], number(row["sd"], decimals))),
        ("95 % interval", True, lambda row: figure(row["ci_low"], _interval(row, decimals))),
    ]
    for reason in MISSING:
        key = reason.replace(" ", "_")
        if cells[key].any():
            columns.append((reason, True, _value(key, figure)))
    return table("Every cell", rows, columns)


def frame_table(caption: str, frame: pd.DataFrame, headers: Mapping[str, str], note: str = "") -> Table:
    """Columns of a frame as they are: text as names, numbers with five digits. headers: by column, in their order."""
    columns: list[tuple[str, bool, Callable[[Row], Cell]]] = []
    for column, header in headers.items():
        is_number = pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column])
        make = figure if is_number else name
        columns.append((header, is_number, _value(column, _SPECIAL.get(column, make))))
    rows = frame[list(headers)].head(MOST_ROWS + 1).to_dict("records")
    made = table(caption, rows, columns, note)
    if len(frame) <= MOST_ROWS:
        return made
    return Table(
        caption=made.caption,
        headers=made.headers,
        is_number=made.is_number,
        rows=made.rows,
        note=f"The first {MOST_ROWS:,} of {len(frame):,} rows. {note}".strip(),
    )


_SPECIAL: Mapping[str, Callable[[Any], Cell]] = {  # columns that every table shows alike
    "p_value": lambda p: figure(p, p_text(p)),
    "p_adjusted": lambda p: figure(p, p_text(p)),
    "verdict": lambda word: Cell(text=str(word), verdict=str(word)),
}


def _level(place: int) -> Callable[[Row], Cell]:
    return lambda row: name(row["levels"][place])


def _value(column: str, make: Callable[[Any], Cell]) -> Callable[[Row], Cell]:
    return lambda row: make(row[column])


def _is_exponent(text: str) -> bool:
    return len(text) > 1 and text[-1] == "e" and text[-2].isdigit()


def _difference(row: Row, metric: Metric) -> tuple[str, str, str]:
    return difference_text(row["mean_difference"], row["ci_low"], row["ci_high"], metric.margin)


def _count(row: Row) -> Cell:
    return figure(row["n"], _of(row["n"], row["n"] + row["num_seeds_left_out"]))


def _verdict(row: Row) -> Cell:
    word = str(row["verdict"])
    return Cell(text=word, verdict=word, note=BELOW_MARGIN if row["below_margin"] else "")


def _of(n: int, planned: int) -> str:
    return str(n) if n == planned else f"{n}/{planned} {MARK}"


def _decimals(row: Row) -> int:
    low, high = row["ci_low"], row["ci_high"]
    return decimals_for((row["mean"], low, high), (high - low) / 2)


def _interval(row: Row, decimals: int) -> str:
    return f"{number(row['ci_low'], decimals)} to {number(row['ci_high'], decimals)}"

"""Tables of a report, described once: terminal, Markdown, LaTeX and HTML select columns from them and draw these."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.study.study import Metric
from reports.analysis.cells import MISSING
from reports.wording.numbers import (
    ABSENT,
    choose_decimals,
    format_cell,
    format_count,
    format_counts,
    format_number,
    format_p_value,
)
from reports.wording.verdicts import BELOW_MARGIN, format_difference

COUNTS = {"seed": "n", "fold": "folds"}
"""Header of the column of counts, by the unit of a study's differences."""

MARK = "(!)"
"""Mark of every number that rests on fewer trials than were planned."""

_MOST_DECIMALS = 9
Row = Mapping[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Cell of a table.

    text: the number or the words.
    value: the number that the cell is sorted by, NaN if it is absent; None for words.
    note: a remark on the text.
    """

    text: str
    value: float | None = None
    note: str = ""

    def __str__(self) -> str:
        return f"{self.text}, {self.note}" if self.note else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Headers, and rows of as many cells."""

    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def is_number(self) -> tuple[bool, ...]:
        """True for each column of numbers, which are right-aligned and never broken over lines."""
        return tuple(all(row[index].value is not None for row in self.rows) for index in range(len(self.headers)))

    def select(self, headers: Sequence[str]) -> "Table":
        """Return the table with these columns, in this order."""
        if not self.rows:
            return Table(headers=tuple(headers), rows=())
        columns = [self.headers.index(header) for header in headers]
        return Table(headers=tuple(headers), rows=tuple(tuple(row[index] for index in columns) for row in self.rows))

    def drop_empty(self, headers: Iterable[str]) -> "Table":
        """Return the table without those of these columns that hold only zeros or nothing."""
        blank = {"", "0", ABSENT}
        empty = {
            header for header in headers if all(row[self.headers.index(header)].text in blank for row in self.rows)
        }
        return self.select([header for header in self.headers if header not in empty])

    def join(self, other: "Table") -> "Table":
        """Return the table with the columns of another one to the right."""
        rows = tuple((*left, *right) for left, right in zip(self.rows, other.rows, strict=True))
        return Table(headers=(*self.headers, *other.headers), rows=rows)


def text_cell(text: object) -> Cell:
    """Return a cell of words."""
    return Cell(text=str(text))


def number_cell(value: float, text: str | None = None) -> Cell:
    """Return a cell of a number, by default with five significant digits."""
    if pd.isna(value):
        return Cell(text=ABSENT, value=math.nan)
    return Cell(text=f"{value:.5g}" if text is None else text, value=float(value))


def p_cell(p_value: float) -> Cell:
    """Return a cell of a p value."""
    return number_cell(p_value, format_p_value(p_value))


def count_cell(n: int, planned: int) -> Cell:
    """Return a cell of a count, marked if it is less than was planned."""
    return number_cell(n, str(n) if n == planned else f"{n}/{planned} {MARK}")


def tabulate_contrasts(contrasts: pd.DataFrame, metric: Metric, unit: str) -> Table:
    """Return a row for each contrast.

    Columns: factor, level − reference, contrast (both in one), context, n or folds, difference, low, high and
    95 % interval, p, p (Holm), d_z, MDE, verdict.
    """
    return _table(
        {
            "factor": text_cell(row["factor"]),
            "level − reference": text_cell(f"{row['level']} − {row['reference']}"),
            "contrast": text_cell(f"{row['factor']}: {row['level']} - {row['reference']}"),
            "context": text_cell(row["context"]),
            **_difference_cells(row, metric, unit),
            "p": p_cell(row["p_value"]),
            "p (Holm)": p_cell(row["p_adjusted"]),
            "d_z": number_cell(row["effect_size"], format_number(row["effect_size"], 2, signed=True)),
            "MDE": number_cell(row["mde"], _two_digits(row["mde"])),
            "verdict": Cell(text=row["verdict"], note=BELOW_MARGIN if row["below_margin"] else ""),
        }
        for row in contrasts.to_dict("records")
    )


def tabulate_interactions(interactions: pd.DataFrame, metric: Metric, unit: str, *, minus: str = "-") -> Table:
    """Return a row for each interaction.

    Columns: contrast, under (the contrast of the other factor), n or folds, difference (of the differences), low, high
    and 95 % interval, p (Holm), MDE, verdict.
    """
    return _table(
        {
            "contrast": text_cell(f"{row['factor_a']}: {row['level_a']} {minus} {row['reference_a']}"),
            "under": text_cell(f"{row['factor_b']}: {row['level_b']} {minus} {row['reference_b']}"),
            **_difference_cells(row, metric, unit),
            "p (Holm)": p_cell(row["p_adjusted"]),
            "MDE": number_cell(row["mde"], _two_digits(row["mde"])),
            "verdict": text_cell(row["verdict"]),
        }
        for row in interactions.to_dict("records")
    )


def tabulate_shares(shares: pd.DataFrame) -> Table:
    """Return a row for each source of variance: source, sum of squares, df, share, 95 % interval, partial ω², p."""
    return _table(
        {
            "source": text_cell(row["source"]),
            "sum of squares": number_cell(row["sum_of_squares"]),
            "df": number_cell(row["df"]),
            "share": _percent_cell(row["share"]),
            "95 % interval": _interval_cell(row["share_low"], _percent(row["share_low"]), _percent(row["share_high"])),
            "partial ω²": number_cell(row["partial_omega_squared"], format_number(row["partial_omega_squared"], 3)),
            "p": p_cell(row["p_value"]),
        }
        for row in shares.to_dict("records")
    )


def tabulate_rates(rates: pd.DataFrame, cells: pd.DataFrame) -> Table:
    """Return a row for each cell with a diverged trial: cell, diverged, rate, 95 % interval.

    Args:
        rates: of `outcome_rates`.
        cells: of `cell_table`, whose rows are the same cells.
    """
    return _table(
        {
            "cell": text_cell(_cell_name(cells, levels)),
            "diverged": number_cell(row["diverged"], f"{row['diverged']} of {row['n']}"),
            "rate": _percent_cell(row["rate"]),
            "95 % interval": _interval_cell(row["rate_low"], _percent(row["rate_low"]), _percent(row["rate_high"])),
        }
        for levels, row in zip(cells.index, rates.to_dict("records"), strict=True)
        if row["diverged"]
    )


def tabulate_cells(cells: pd.DataFrame, unit: str) -> Table:
    """Return the numbers of each cell: n or folds, mean, SD, low, high and 95 % interval, and missing trials by reason.

    All rows have the same decimals: two significant digits of half the shortest interval.
    """
    rows = cells.to_dict("records")
    decimals = min(max(map(_decimals, rows)), _MOST_DECIMALS)
    return _table(
        {
            COUNTS[unit]: count_cell(row["n"], row["planned"]),
            **{
                header: number_cell(row[key], format_number(row[key], decimals))
                for header, key in {"mean": "mean", "SD": "sd", "low": "ci_low", "high": "ci_high"}.items()
            },
            "95 % interval": _interval_cell(
                row["ci_low"], format_number(row["ci_low"], decimals), format_number(row["ci_high"], decimals)
            ),
            **{reason: number_cell(row[reason.replace(" ", "_")]) for reason in MISSING},
        }
        for row in rows
    )


def name_cells(cells: pd.DataFrame) -> Table:
    """Return the one column that names each cell by all its levels."""
    return _table({"cell": text_cell(_cell_name(cells, levels))} for levels in cells.index)


def level_columns(cells: pd.DataFrame) -> Table:
    """Return the levels of each cell, in a column for each factor."""
    rows = tuple(tuple(map(text_cell, levels)) for levels in cells.index)
    return Table(headers=tuple(map(str, cells.index.names)), rows=rows)


def describe_missing(cells: pd.DataFrame, at_most: int) -> list[str]:
    """Return a line for each cell that lacks trials, with their number by reason; of many, a count of the rest."""
    lines = []
    for levels, row in zip(cells.index, cells.to_dict("records"), strict=True):
        if not row["complete"]:
            why = format_counts({reason: row[reason.replace(" ", "_")] for reason in MISSING})
            lines.append(f"{_cell_name(cells, levels)}: {row['n']} of {row['planned']} trials have a value; {why}")
    rest = len(lines) - at_most
    return lines if rest <= 0 else [*lines[:at_most], f"and {format_count(rest, 'cell')} more"]


def _table(rows: Iterable[Mapping[str, Cell]]) -> Table:
    rows = list(rows)
    return Table(headers=tuple(rows[0]) if rows else (), rows=tuple(tuple(row.values()) for row in rows))


def _difference_cells(row: Row, metric: Metric, unit: str) -> dict[str, Cell]:
    mean, low, high = format_difference(row["mean_difference"], row["ci_low"], row["ci_high"], metric.margin)
    return {
        COUNTS[unit]: count_cell(row["n"], row["n"] + row["num_seeds_left_out"]),
        "difference": number_cell(row["mean_difference"], mean),
        "low": number_cell(row["ci_low"], low),
        "high": number_cell(row["ci_high"], high),
        "95 % interval": _interval_cell(row["ci_low"], low, high),
    }


def _interval_cell(value: float, low: str, high: str) -> Cell:
    return number_cell(value, f"{low} to {high}")


def _percent_cell(share: float) -> Cell:
    return number_cell(share, _percent(share))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _cell_name(cells: pd.DataFrame, levels: Iterable[str]) -> str:
    return format_cell(dict(zip(map(str, cells.index.names), levels, strict=True)))


def _decimals(row: Row) -> int:
    low, high = row["ci_low"], row["ci_high"]
    return choose_decimals((row["mean"], low, high), (high - low) / 2)


def _two_digits(size: float) -> str:
    return format_number(size, choose_decimals([size], size))

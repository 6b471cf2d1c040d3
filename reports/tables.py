"""The tables of a report as text: headers and rows of strings, which markdown.py and terminal.py only draw."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from experiments.study import Metric

from .cells import MISSING
from .text import ABSENT, cell_name, counted, counts_in_words, decimals_for, number, p_text
from .verdicts import BELOW_MARGIN, difference_text

COUNTS = {"seed": "n", "fold": "folds"}  # the header of how many, by what a study's trials differ by
MARK = "(!)"  # at every number that stands for fewer trials than were planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Headers and rows. Columns in `numbers` are right-aligned and never broken over lines."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str]

    def only(self, headers: Sequence[str]) -> "Table":
        """The table with these columns, in this order."""
        places = [self.headers.index(header) for header in headers]
        rows = tuple(tuple(row[place] for place in places) for row in self.rows)
        return Table(headers=tuple(headers), rows=rows, numbers=self.numbers)

    def without_empty(self, headers: Sequence[str]) -> "Table":
        """The table less those of these columns that hold only zeros or nothing."""
        blank = {"", "0", ABSENT}
        empty = {header for header in headers if all(row[self.headers.index(header)] in blank for row in self.rows)}
        return self.only([header for header in self.headers if header not in empty])


def contrast_text(contrasts: pd.DataFrame, metric: Metric, unit: str) -> Table:
    """One row a contrast: contrast, context, n, difference, 95 % interval, p, p (Holm), d_z, verdict.

    n is called folds where the unit is a fold, as in `cell_text`.
    """
    rows = []
    for row in contrasts.to_dict("records"):
        mean, low, high = difference_text(row["mean_difference"], row["ci_low"], row["ci_high"], metric.margin)
        planned = row["n"] + row["num_seeds_left_out"]
        rows.append(
            (
                f"{row['factor']}: {row['level']} - {row['reference']}",
                row["context"],
                _of(row["n"], planned),
                mean,
                f"{low} to {high}" if low != ABSENT else ABSENT,
                p_text(row["p_value"]),
                p_text(row["p_adjusted"]),
                number(row["effect_size"], 2, signed=True),
                f"{row['verdict']}, {BELOW_MARGIN}" if row["below_margin"] else row["verdict"],
            )
        )
    headers = ("contrast", "context", COUNTS[unit], "difference", "95 % interval", "p", "p (Holm)", "d_z", "verdict")
    return Table(headers=headers, rows=tuple(rows), numbers=frozenset(headers[2:-1]))


def cell_text(cells: pd.DataFrame, unit: str) -> Table:
    """One row a cell: the cell, n, mean, SD, 95 % interval, diverged, failed, pending, no value."""
    rows = []
    for levels, row in zip(cells.index, cells.to_dict("records"), strict=True):
        low, high, mean, sd = row["ci_low"], row["ci_high"], row["mean"], row["sd"]
        decimals = decimals_for((mean, low, high), (high - low) / 2)
        interval = ABSENT if math.isnan(low) else f"{number(low, decimals)} to {number(high, decimals)}"
        rows.append(
            (
                _name(cells, levels),
                _of(row["n"], row["planned"]),
                number(mean, decimals),
                number(sd, decimals),
                interval,
                *(str(row[reason.replace(" ", "_")]) for reason in MISSING),
            )
        )
    headers = ("cell", COUNTS[unit], "mean", "SD", "95 % interval", *MISSING)
    return Table(headers=headers, rows=tuple(rows), numbers=frozenset(headers[1:]))


def missing_lines(cells: pd.DataFrame, at_most: int) -> list[str]:
    """A line for each cell that misses trials, how many it has and why, and one for those that are too many to list."""
    lines = []
    for levels, row in zip(cells.index, cells.to_dict("records"), strict=True):
        if not row["complete"]:
            why = counts_in_words({reason: row[reason.replace(" ", "_")] for reason in MISSING})
            lines.append(f"{_name(cells, levels)}: {row['n']} of {row['planned']} trials have a value; {why}")
    rest = len(lines) - at_most
    return lines if rest <= 0 else [*lines[:at_most], f"and {counted(rest, 'cell')} more"]


def _name(cells: pd.DataFrame, levels: Iterable[str]) -> str:
    return cell_name(dict(zip(map(str, cells.index.names), levels, strict=True)))


def _of(n: int, planned: int) -> str:
    return str(n) if n == planned else f"{n}/{planned} {MARK}"

"""The tables of a report as text: headers and rows of strings, which markdown.py and terminal.py only draw."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from experiments.study.study import Metric
from reports.analysis.cells import MISSING
from reports.wording.numbers import (
    ABSENT,
    cell_name,
    counted,
    counts_in_words,
    decimals_for,
    number,
    p_text,
)
from reports.wording.verdicts import BELOW_MARGIN, difference_text

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
    """One row a contrast: contrast, context, n, difference, 95 % interval, p, p (Holm), d_z, MDE, verdict.

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
                _two_digits(row["mde"]),
                f"{row['verdict']}, {BELOW_MARGIN}" if row["below_margin"] else row["verdict"],
            )
        )
    headers = (
        "contrast",
        "context",
        COUNTS[unit],
        "difference",
        "95 % interval",
        "p",
        "p (Holm)",
        "d_z",
        "MDE",
        "verdict",
    )
    return Table(headers=headers, rows=tuple(rows), numbers=frozenset(headers[2:-1]))


def interaction_text(interactions: pd.DataFrame, metric: Metric, unit: str) -> Table:
    """One row an interaction: contrast, under, n, difference of differences, 95 % interval, p (Holm), MDE, verdict."""
    rows = []
    for row in interactions.to_dict("records"):
        mean, low, high = difference_text(row["mean_difference"], row["ci_low"], row["ci_high"], metric.margin)
        rows.append(
            (
                f"{row['factor_a']}: {row['level_a']} - {row['reference_a']}",
                f"{row['factor_b']}: {row['level_b']} - {row['reference_b']}",
                _of(row["n"], row["n"] + row["num_seeds_left_out"]),
                mean,
                f"{low} to {high}" if low != ABSENT else ABSENT,
                p_text(row["p_adjusted"]),
                _two_digits(row["mde"]),
                row["verdict"],
            )
        )
    headers = ("contrast", "under", COUNTS[unit], "difference", "95 % interval", "p (Holm)", "MDE", "verdict")
    return Table(headers=headers, rows=tuple(rows), numbers=frozenset(headers[2:-1]))


def share_text(shares: pd.DataFrame) -> Table:
    """One row a source of variance: source, share, 95 % interval, df, partial ω²."""
    rows = [
        (
            row["source"],
            _percent(row["share"]),
            ABSENT
            if math.isnan(row["share_low"])
            else f"{_percent(row['share_low'])} to {_percent(row['share_high'])}",
            str(row["df"]),
            number(row["partial_omega_squared"], 3),
        )
        for row in shares.to_dict("records")
    ]
    headers = ("source", "share", "95 % interval", "df", "partial ω²")
    return Table(headers=headers, rows=tuple(rows), numbers=frozenset(headers[1:]))


def rate_text(rates: pd.DataFrame, cells: pd.DataFrame) -> Table:
    """One row a cell with a diverged trial: cell, diverged, rate, 95 % interval.

    Arguments:
        rates: of `outcome_rates`.
        cells: of `cell_table`, whose rows are the same cells.
    """
    rows = [
        (
            _name(cells, levels),
            f"{row['diverged']} of {row['n']}",
            _percent(row["rate"]),
            f"{_percent(row['rate_low'])} to {_percent(row['rate_high'])}",
        )
        for levels, row in zip(cells.index, rates.to_dict("records"), strict=True)
        if row["diverged"]
    ]
    headers = ("cell", "diverged", "rate", "95 % interval")
    return Table(headers=headers, rows=tuple(rows), numbers=frozenset(headers[1:]))


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


def _percent(share: float) -> str:
    return ABSENT if math.isnan(share) else f"{100 * share:.1f} %"


def _two_digits(size: float) -> str:
    return number(size, decimals_for([size], size))


def _of(n: int, planned: int) -> str:
    return str(n) if n == planned else f"{n}/{planned} {MARK}"

"""Tables of the page: the tables of a report with a caption, and frames of which every column is shown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.formats.tables import Cell, Table, number_cell, p_cell, text_cell
from reports.wording.numbers import format_number, format_p_value

MOST_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """Table of the page.

    rows: at most MOST_ROWS.
    note: a remark below the table, such as how many rows are not shown.
    """

    caption: str
    headers: tuple[str, ...]
    is_number: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str


def make_page_table(caption: str, table: Table, note: str = "", *, num_rows: int | None = None) -> PageTable:
    """Return the first rows of a table for the page.

    Args:
        caption: the title of the table.
        table: its cells.
        note: a remark on it.
        num_rows: of the whole table, if `table` is the beginning of it.
    """
    num_rows = len(table.rows) if num_rows is None else num_rows
    return PageTable(
        caption=caption,
        headers=table.headers,
        is_number=table.is_number,
        rows=table.rows[:MOST_ROWS],
        note=note if num_rows <= MOST_ROWS else f"The first {MOST_ROWS:,} of {num_rows:,} rows. {note}".strip(),
    )


def tabulate_frame(caption: str, frame: pd.DataFrame, headers: Mapping[str, str], note: str = "") -> PageTable:
    """Return a table of a frame: texts as they are, numbers with five significant digits.

    Args:
        caption: the title of the table.
        frame: its values.
        headers: by column of the frame, in the order of the table.
        note: a remark on it.
    """
    columns = [_cells(column, frame[column].head(MOST_ROWS)) for column in headers]
    table = Table(headers=tuple(headers.values()), rows=tuple(zip(*columns, strict=True)))
    return make_page_table(caption, table, note, num_rows=len(frame))


def tabulate_details(contrasts: pd.DataFrame) -> PageTable:
    """Return the table of everything else that was computed for each contrast."""
    optional: dict[str, tuple[str, Callable[[Any], str]]] = {
        "p_value": ("p", lambda row: format_p_value(row["p_value"])),
        "effect_size": ("d_z", lambda row: format_number(row["effect_size"], 2, signed=True)),
        "hedges_g": ("Hedges g", lambda row: format_number(row["hedges_g"], 2, signed=True)),
        "sd_difference": ("SD of difference", lambda row: f"{row['sd_difference']:.3g}"),
        "seed_correlation": ("correlation", lambda row: f"{row['seed_correlation']:.2f}"),
        "wins": ("better / worse / same", lambda row: f"{row['wins']} / {row['losses']} / {row['ties']}"),
        "sign_flip_p": (
            "sign flip p (floor)",
            lambda row: f"{format_p_value(row['sign_flip_p'])} ({format_p_value(row['sign_flip_floor'])})",
        ),
        "bootstrap_low": (
            "bootstrap-t interval",
            lambda row: f"{row['bootstrap_low']:+.3g} to {row['bootstrap_high']:+.3g}",
        ),
        "more_seeds": ("more needed", lambda row: f"{row['more_seeds']:.5g}"),
    }
    shown = {key: column for key, column in optional.items() if key in contrasts}
    rows = tuple(
        (
            text_cell(f"{row['factor']}: {row['level']} − {row['reference']}"),
            *(number_cell(row[key], text(row)) for key, (_, text) in shown.items()),
        )
        for row in contrasts.to_dict("records")
    )
    headers = ("contrast", *(header for header, _ in shown.values()))
    return make_page_table("More about each main effect", Table(headers=headers, rows=rows))


def _cells(name: str, column: "pd.Series[Any]") -> list[Cell]:
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    make = p_cell if name == "p_value" else number_cell if is_number else text_cell
    return [make(value) for value in column]

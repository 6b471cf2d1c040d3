"""Report in the terminal: verdicts, claims, cells, and the names of the files."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from experiments.text import escape_controls
from reports.analysis.claims import CONTRADICTED, PRACTICALLY_EQUAL, SUPPORTED
from reports.analysis.interactions import HELPS_LESS, HELPS_MORE, WORDS
from reports.report import Report
from reports.wording.method import describe_folds, describe_metric
from reports.wording.numbers import format_count, format_counts
from reports.wording.verdicts import EQUIVALENT, HARMS, IMPROVES, UNDECIDED, VERDICTS

from .tables import (
    COUNTS,
    MARK,
    Table,
    describe_missing,
    name_cells,
    tabulate_cells,
    tabulate_contrasts,
    tabulate_rates,
)

_STYLES = {IMPROVES: "green", HARMS: "red", EQUIVALENT: "cyan", UNDECIDED: "yellow"}
_STYLES |= {SUPPORTED: "green", CONTRADICTED: "red", PRACTICALLY_EQUAL: "cyan"}
_MOST_ROWS = 40  # of the cell table; report.md has all of them
_MOST_LINES = 10  # of incomplete cells
_MOST_SHARES = 4  # sources of variance
_NARROWEST_NAME = 12  # characters; below, the table grows beyond the terminal


def print_report(report: Report, console: Console) -> None:
    """Print the verdict table, the claims, the cells and what is missing.

    In a narrow terminal, names are wrapped and numbers are never cut. Colours repeat the meaning of the words; rich
    leaves them out if the output is no terminal or NO_COLOR is set.
    """
    study = report.study
    console.print(_text(study.name, "bold"))
    if study.question:
        console.print(_text(study.question))
    console.print(_text(describe_metric(study), "dim"))
    if study.folds is not None:
        corrected = " Intervals and p are corrected for this." if len(study.seeds) > 1 else ""
        console.print(_text(f"{describe_folds(study)}{corrected}", "dim"))
    if len(report.main_effects):
        table = tabulate_contrasts(report.main_effects, study.metric, study.unit)
        numbers = [COUNTS[study.unit], "difference", "95 % interval", "p (Holm)"]
        _draw(table.select(["contrast", *numbers, "verdict"]), console)
    _print_simple_effects(report, console)
    _print_interactions(report, console)
    _print_shares(report, console)
    _print_claims(report, console)
    _print_cells(report, console)
    for note in report.notes:
        console.print(_text(f"{MARK} {note}"))
    if report.files:
        names = ", ".join(file.name for file in report.files)
        console.print(
            _text(f"Written to {report.files[0].parent}: {names}"), soft_wrap=True
        )  # unbroken, so that the path can be copied


def _print_simple_effects(report: Report, console: Console) -> None:
    if len(report.simple_effects):
        words = report.simple_effects["verdict"].value_counts()
        counts = format_counts({word: int(words.get(word, 0)) for word in VERDICTS})
        console.print(
            _text(f"{format_count(len(report.simple_effects), 'simple effect')} in report.md: {counts}", "dim")
        )


def _print_interactions(report: Report, console: Console) -> None:
    """Print the interactions found, and count the others."""
    table = report.interactions
    decided = table[table["verdict"].isin([HELPS_MORE, HELPS_LESS])]
    for words in decided["sentence"].head(_MOST_LINES):
        console.print(_text(words))
    if len(table):
        words = table["verdict"].value_counts()
        counts = format_counts({word: int(words.get(word, 0)) for word in WORDS.values()})
        console.print(_text(f"{format_count(len(table), 'interaction')} in report.md: {counts}", "dim"))


def _print_shares(report: Report, console: Console) -> None:
    """Print the largest sources of variance on one line."""
    largest = report.variance_shares[report.variance_shares["share"] > 0].nlargest(_MOST_SHARES, "share")
    if len(largest):
        shares = ", ".join(f"{row['source']} {100 * row['share']:.0f} %" for row in largest.to_dict("records"))
        console.print(_text(f"Shares of variance: {shares}", "dim"))


def _print_claims(report: Report, console: Console) -> None:
    if len(report.claims):
        console.print()
    for finding, words in zip(report.claims["finding"], report.claims["answer"], strict=True):
        console.print(Text.assemble((finding, _STYLES[finding]), f": {escape_controls(words)}"))


def _print_cells(report: Report, console: Console) -> None:
    shown, unit = report.cells.head(_MOST_ROWS), report.study.unit
    numbers = tabulate_cells(shown, unit).select([COUNTS[unit], "mean", "SD", "95 % interval"])
    _draw(name_cells(shown).join(numbers), console)
    if (num_more := len(report.cells) - len(shown)) > 0:
        console.print(_text(f"and {format_count(num_more, 'cell')} more in report.md"))
    for line in describe_missing(report.cells, _MOST_LINES):
        console.print(_text(f"{MARK} {line}"))
    for row in tabulate_rates(report.outcome_rates, report.cells).rows[:_MOST_LINES]:
        cell, diverged, rate, interval = map(str, row)
        console.print(_text(f"{cell}: {diverged} diverged, {rate} (95 % interval {interval})"))


def _draw(table: Table, console: Console) -> None:
    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, (header, is_number) in enumerate(zip(table.headers, table.is_number, strict=True)):
        width = max(len(header), *(len(str(row[index])) for row in table.rows))
        if is_number:
            drawn.add_column(header, justify="right", no_wrap=True, min_width=width)
        else:
            drawn.add_column(header, overflow="fold", min_width=min(_NARROWEST_NAME, width))
    for row in table.rows:
        drawn.add_row(*(_text(str(cell), _STYLES.get(cell.text, "")) for cell in row))
    needed = Measurement.get(console, console.options.update(max_width=10_000), drawn).minimum
    if needed > console.width:  # the terminal breaks the lines, so that rich cuts no numbers
        drawn.width = needed
    console.print(drawn, crop=False)


def _text(text: str, style: str = "") -> Text:
    return Text(escape_controls(text), style=style)

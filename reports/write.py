"""The files of a report, in DIR/report/: the page, the text, the tables of a paper, and the data of all of them."""

import csv
import hashlib
import importlib
import secrets
from dataclasses import replace
from pathlib import Path

import pandas as pd

from experiments.errors import DirectoryError

from .formats.csv_text import csv_text
from .formats.json_document import to_json
from .formats.latex import to_latex
from .formats.markdown import to_markdown
from .page import to_html
from .report import Report, build_report

FOLDER, PAGE = "report", "index.html"


def write_report(directory: str | Path) -> Report:
    """Write DIR/report/ and return the report.

    The same ledger gives the same bytes. Every file appears whole or not at all. Numbers in the CSV files are written
    with all their digits: `pandas.read_csv(..., float_precision="round_trip")` reads exactly the same ones.

    Arguments:
        directory: a study's folder, the one that holds ledger.sqlite.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
        InputError: when no trial has finished, or none logged the study's metric.
        DirectoryError: when the folder cannot be written.
    """
    report = build_report(directory)
    folder = Path(directory) / FOLDER
    tables = {
        "trials.csv": _csv(report.trials),
        "contrasts.csv": _csv(report.contrasts),
        "curves.csv": _csv(report.curves),
    }
    digests = {name: hashlib.sha256(_bytes(content)).hexdigest() for name, content in tables.items()}
    contents = {
        PAGE: to_html(report, digests),
        "report.md": to_markdown(report),
        "tables.tex": to_latex(report),
        **tables,
        "report.json": to_json(report),
    }
    try:
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise DirectoryError(f"{folder}: the report cannot be written: {error}") from error
    return replace(report, files=tuple(folder / name for name in contents))


def import_libraries() -> None:
    """Import scipy and matplotlib, which a report otherwise imports at their first use."""
    for name in ("matplotlib.backends.backend_svg", "matplotlib.figure", "scipy.special"):
        importlib.import_module(name)


def _csv(frame: pd.DataFrame) -> str:
    text = csv_text(frame)
    if "\r" in text:  # Python 3.11 leaves a lone carriage return unquoted, and readers take it for the end of the line
        text = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def _bytes(content: str) -> bytes:
    return content.encode(errors="backslashreplace")


def write_atomically(path: Path, content: str) -> None:
    """Write a file that appears whole or not at all."""
    temporary = path.with_name(
        f".{path.name}.{secrets.token_hex(8)}.tmp"
    )  # on a shared disk, a process id is not unique
    try:
        temporary.write_bytes(_bytes(content))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

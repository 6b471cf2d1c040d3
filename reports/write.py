"""Files of a report in DIR/report/: HTML page, Markdown, LaTeX tables, and the data as CSV and JSON."""

import csv
import hashlib
import importlib
import secrets
from dataclasses import replace
from pathlib import Path

import pandas as pd

from experiments.errors import DirectoryError

from .formats.csv_text import format_csv
from .formats.json_document import to_json
from .formats.latex import to_latex
from .formats.markdown import to_markdown
from .page import to_html
from .report import Report, build_report

FOLDER, PAGE = "report", "index.html"


def write_report(directory: str | Path) -> Report:
    """Write DIR/report/ and return the report.

    The same ledger gives the same bytes, and each file is written atomically. Numbers in the CSV files have all digits,
    so `pandas.read_csv(..., float_precision="round_trip")` restores them exactly.

    Args:
        directory: folder of the study, which holds ledger.sqlite.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
        InputError: if no trial has finished, or none logged the study's metric.
        DirectoryError: if the folder cannot be written.
    """
    report = build_report(directory)
    folder = Path(directory) / FOLDER
    tables = {
        "trials.csv": _to_csv(report.trials),
        "contrasts.csv": _to_csv(report.contrasts),
        "curves.csv": _to_csv(report.curves),
    }
    digests = {name: hashlib.sha256(_encode(content)).hexdigest() for name, content in tables.items()}
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
    """Import scipy and matplotlib, which a report otherwise imports at first use."""
    for name in ("matplotlib.backends.backend_svg", "matplotlib.figure", "scipy.special"):
        importlib.import_module(name)


def _to_csv(frame: pd.DataFrame) -> str:
    text = format_csv(frame)
    if "\r" in text:  # Python 3.11 does not quote a lone carriage return, which readers take for the end of a line
        text = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def _encode(content: str) -> bytes:
    return content.encode(errors="backslashreplace")


def write_atomically(path: Path, content: str) -> None:
    """Write a file atomically: it appears complete or not at all."""
    # A random name, because process ids are not unique on a shared disk.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(_encode(content))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

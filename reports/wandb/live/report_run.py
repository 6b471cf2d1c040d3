"""Run with the results of a study: tables, verdicts and the files of DIR/report/."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.ledger.study_folder import open_ledger
from experiments.trials.trial import count_ended
from reports.wandb.destination import Destination
from reports.wandb.run_content import AGGREGATE, RunContent

if TYPE_CHECKING:
    from .client import OpenRun

# Table in report.json, and in W&B where it has rows -> frame of a Report.
TABLES = {name: name for name in ("cells", "contrasts", "claims", "interactions")} | {"shares": "variance_shares"}
FILES = ("index.html", "report.md", "tables.tex", "trials.csv", "contrasts.csv", "report.json")
_MAX_GROUP_LENGTH = 100  # characters of the group in an artifact's name, which has up to 128
PAGE = "report"  # key of the HTML page
_MAX_ROWS = 10_000  # that W&B shows of a table


def make_report_content(directory: Path, destination: Destination) -> RunContent:
    """Return the content of the report's run. Its name says if the study is not finished.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
    """
    with open_ledger(directory) as ledger:
        counts, study, name = ledger.counts(), ledger.study_content(), ledger.study_name()
    total = sum(counts.values())
    ended = count_ended(counts)
    document = _read_document(directory)
    verdicts = Counter(row["verdict"] for row in document["tables"]["contrasts"] if not row["context"])
    return RunContent(
        run_id=destination.report_id,
        name="report" if ended == total else f"report (unfinished: {ended} of {total} trials)",
        job_type=AGGREGATE,
        config={"study": name, "question": study["question"], "definition": study},
        summary={
            "study/complete": ended == total,
            "study/trials": total,
            **{f"study/{status}": count for status, count in counts.items()},
            **{f"study/verdicts/{verdict}": count for verdict, count in sorted(verdicts.items())},
        },
    )


def log_report(run: "OpenRun", directory: Path, destination: Destination) -> None:
    """Log the tables and files of DIR/report/ in an open run."""
    tables = {get_table_key(name): table for name, table in read_tables(directory).items()}
    run.log_report(tables, [directory / "report" / name for name in FILES], make_artifact_name(destination))


def get_table_key(name: str) -> str:
    """Return the key of a table in the report's run.

    >>> get_table_key("cells")
    'tables/cells'
    """
    return f"tables/{name}"


def read_tables(directory: Path) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """Return (columns, rows) of each table in DIR/report/report.json that has rows.

    Of more contrasts than W&B shows, the main effects are kept.
    """
    tables: dict[str, tuple[list[str], list[list[Any]]]] = {}
    for name, records in _read_document(directory)["tables"].items():
        if name not in TABLES or not records:
            continue
        rows = records
        if len(rows) > _MAX_ROWS:
            rows = [row for row in rows if not row.get("context")][:_MAX_ROWS]
        columns = list(rows[0])
        tables[name] = columns, [[_format_cell(row[column]) for column in columns] for row in rows]
    return tables


def make_artifact_name(destination: Destination) -> str:
    """Return the name of the report's artifact: the group in characters that W&B accepts, with a hash if they differ.

    >>> make_artifact_name(Destination(group="depth")), make_artifact_name(Destination(group="depth & width"))
    ('report-depth', 'report-depth-width-82a2494d40')
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", destination.group).strip("-")[:_MAX_GROUP_LENGTH]
    return (
        destination.report_id
        if not plain
        else f"report-{plain}" + ("" if plain == destination.group else f"-{destination.digest}")
    )


def _read_document(directory: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((directory / "report" / "report.json").read_text(encoding="utf-8"))
    return document


def _format_cell(value: Any) -> Any:
    """Return a value as a table's column may hold it."""
    return ", ".join(f"{key}={item}" for key, item in value.items()) if isinstance(value, dict) else value

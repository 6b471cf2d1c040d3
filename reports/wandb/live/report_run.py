"""The run that holds what a study came to: its tables, its verdicts and its report, as they are in DIR/report/."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.ledger.study_folder import open_ledger
from experiments.trials.trial import count_finished
from reports.wandb.destination import Place
from reports.wandb.run_content import AGGREGATE, RunContent

if TYPE_CHECKING:
    from .client import OpenRun

TABLES = ("cells", "contrasts", "claims", "interactions", "shares")  # of report.json, those with rows
FILES = ("index.html", "report.md", "tables.tex", "trials.csv", "contrasts.csv", "report.json")
_LONGEST_NAME = 100  # of what a group gives to the name of an artifact, which has up to 128 characters
PAGE = "report"  # the key of the HTML page
_MOST_ROWS = 10_000  # of a table that W&B shows


def report_run(directory: Path, place: Place) -> RunContent:
    """The run of a study, marked where the study is not finished.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
    """
    with open_ledger(directory) as ledger:
        counts, study, name = ledger.counts(), ledger.study_content(), ledger.study_name()
    total = sum(counts.values())
    ended = count_finished(counts)
    document = _document(directory)
    verdicts = Counter(row["verdict"] for row in document["tables"]["contrasts"] if not row["context"])
    return RunContent(
        run_id=place.report_id,
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


def log_report(run: "OpenRun", directory: Path, place: Place) -> None:
    """Write the tables of DIR/report/ and its files into an open run."""
    tables = {table_key(name): table for name, table in report_tables(directory).items()}
    run.log_report(tables, [directory / "report" / name for name in FILES], artifact_name(place))


def table_key(name: str) -> str:
    """The key of a table in the run that holds them.

    >>> table_key("cells")
    'tables/cells'
    """
    return f"tables/{name}"


def report_tables(directory: Path) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """(columns, rows) of each table of DIR/report/report.json that has rows.

    Of contrasts beyond what W&B shows, the main effects are kept.
    """
    tables: dict[str, tuple[list[str], list[list[Any]]]] = {}
    for name, records in _document(directory)["tables"].items():
        if name not in TABLES or not records:
            continue
        rows = records
        if len(rows) > _MOST_ROWS:
            rows = [row for row in rows if not row.get("context")][:_MOST_ROWS]
        columns = list(rows[0])
        tables[name] = columns, [[_cell(row[column]) for column in columns] for row in rows]
    return tables


def artifact_name(place: Place) -> str:
    """The name of the artifact that holds the report: the group in the letters that W&B takes, and a hash where that
    is not the group itself.

    >>> artifact_name(Place(group="depth")), artifact_name(Place(group="depth & width"))
    ('report-depth', 'report-depth-width-82a2494d40')
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", place.group).strip("-")[:_LONGEST_NAME]
    return place.report_id if not plain else f"report-{plain}" + ("" if plain == place.group else f"-{place.digest}")


def _document(directory: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((directory / "report" / "report.json").read_text(encoding="utf-8"))
    return document


def _cell(value: Any) -> Any:
    """A value that a column of a table may hold."""
    return ", ".join(f"{key}={item}" for key, item in value.items()) if isinstance(value, dict) else value

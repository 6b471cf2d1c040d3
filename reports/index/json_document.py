"""The index for programs: index.json and claims.csv."""

import json
from typing import Any

from reports.formats.csv_text import csv_text
from reports.formats.json_document import records

from .index import Catalogue
from .multiplicity import chance_lines

SCHEMA = 1


def to_document(catalogue: Catalogue) -> dict[str, Any]:
    """The content of index.json: plain data that `json` writes and any language reads.

    Keys: schema (1; it changes when a key changes its meaning or goes away), claims, studies and chapters (lists of
    records, the columns of `Catalogue`), notes (on what chance does to so many verdicts), command (that trains what is
    lacking). A number that is missing is null.
    """
    return {
        "schema": SCHEMA,
        "claims": records(catalogue.claims),
        "studies": records(catalogue.studies),
        "chapters": records(catalogue.chapters),
        "notes": chance_lines(catalogue.claims),
        "command": catalogue.command,
    }


def to_json(catalogue: Catalogue) -> str:
    """The text of index.json."""
    return json.dumps(to_document(catalogue), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def to_csv(catalogue: Catalogue) -> str:
    """The text of claims.csv: one row a claim, numbers with all their digits."""
    return csv_text(catalogue.claims)

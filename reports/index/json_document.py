"""Index for programs: index.json and claims.csv."""

import json
from typing import Any

from reports.formats.csv_text import format_csv
from reports.formats.json_document import to_records

from .index import Catalogue
from .multiplicity import describe_multiplicity

SCHEMA = 1


def to_document(catalogue: Catalogue) -> dict[str, Any]:
    """Return the content of index.json as plain data.

    Keys: schema (1; it changes when a key is removed or changes its meaning), claims, studies and chapters (lists of
    records with the columns of `Catalogue`, except `is_changed` of the studies), notes (on multiple comparisons),
    command (trains all missing trials). Missing numbers are null.
    """
    return {
        "schema": SCHEMA,
        "claims": to_records(catalogue.claims),
        "studies": to_records(catalogue.studies.drop(columns="is_changed")),
        "chapters": to_records(catalogue.chapters),
        "notes": describe_multiplicity(catalogue.claims),
        "command": catalogue.command,
    }


def to_json(catalogue: Catalogue) -> str:
    """Return the text of index.json."""
    return json.dumps(to_document(catalogue), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def to_csv(catalogue: Catalogue) -> str:
    """Return the text of claims.csv: a row for each claim, numbers at full precision."""
    return format_csv(catalogue.claims)

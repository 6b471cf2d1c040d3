"""Files of the index, in the folder that contains the study folders."""

from collections import Counter
from pathlib import Path

from experiments.errors import DirectoryError
from reports.wording.numbers import format_count
from reports.write import PAGE, write_atomically

from .html import to_html
from .index import COMPLETE, COPY, FINDINGS, INCOMPLETE, NOT_RUN, UNREADABLE, Catalogue, build_catalogue
from .json_document import to_csv, to_json


def write_index(parent: str | Path) -> tuple[Catalogue, Path]:
    """Write index.html, index.json and claims.csv into a folder that contains study folders.

    The same ledgers give the same bytes. Every file is replaced atomically, also with concurrent writers.

    Returns:
        The catalogue, and the path of the page.

    Raises:
        DirectoryError: if the folder does not exist, is itself a study folder, or cannot be written.
    """
    parent = Path(parent)
    catalogue = build_catalogue(parent)
    contents = {PAGE: to_html(catalogue), "index.json": to_json(catalogue), "claims.csv": to_csv(catalogue)}
    try:
        for name, content in contents.items():
            write_atomically(parent / name, content)
    except OSError as error:
        raise DirectoryError(f"{parent}: the index cannot be written: {error}") from error
    return catalogue, parent / PAGE


def summarise_index(catalogue: Catalogue, page: Path) -> list[str]:
    """Return lines for the terminal: counts of claims and studies, unreadable folders, and the path of the page."""
    findings = Counter(catalogue.claims["finding"])
    words = ", ".join(f"{findings[finding]} {finding}" for finding in FINDINGS if findings[finding])
    states = ", ".join(
        f"{len(studies)} {state}"
        for state in (COMPLETE, INCOMPLETE, NOT_RUN, COPY, UNREADABLE)
        if len(studies := catalogue.select_by_state(state))
    )
    lines = [f"{format_count(len(catalogue.claims), 'claim')} tested{f': {words}' if words else ''}; studies: {states}"]
    lines += [row["note"] for row in catalogue.select_by_state(COPY).to_dict("records")]
    lines += [f"cannot be read: {row['note']}" for row in catalogue.select_by_state(UNREADABLE).to_dict("records")]
    return [*lines, f"Index: {page}"]

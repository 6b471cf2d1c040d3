"""The files of an index, beside the studies' folders."""

from collections import Counter
from pathlib import Path

from experiments.errors import DirectoryError
from reports.wording.numbers import format_count
from reports.write import PAGE, write_atomically

from .html import to_html
from .index import COMPLETE, COPY, FINDINGS, INCOMPLETE, NOT_RUN, UNREADABLE, Catalogue, build_catalogue
from .json_document import to_csv, to_json


def write_index(parent: str | Path) -> tuple[Catalogue, Path]:
    """Write index.html, index.json and claims.csv into a folder of studies' folders.

    The same ledgers give the same bytes. Every file appears whole or not at all, whoever else writes it meanwhile.

    Returns:
        What stands in them, and the page.

    Raises:
        DirectoryError: when the folder is not there, is itself a study's, or cannot be written.
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


def index_lines(catalogue: Catalogue, page: Path) -> list[str]:
    """What the command says of an index: how claims and studies stand, what cannot be read, and where the page is."""
    findings = Counter(catalogue.claims["finding"])
    words = ", ".join(f"{findings[finding]} {finding}" for finding in FINDINGS if findings[finding])
    states = ", ".join(
        f"{len(own)} {state}"
        for state in (COMPLETE, INCOMPLETE, NOT_RUN, COPY, UNREADABLE)
        if len(own := catalogue.in_state(state))
    )
    lines = [f"{format_count(len(catalogue.claims), 'claim')} tested{f': {words}' if words else ''}; studies: {states}"]
    lines += [row["note"] for row in catalogue.in_state(COPY).to_dict("records")]
    lines += [f"cannot be read: {row['note']}" for row in catalogue.in_state(UNREADABLE).to_dict("records")]
    return [*lines, f"Index: {page}"]

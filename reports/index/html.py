"""The index as one HTML file: what came of all claims, then of all studies."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.study.catalogue import NO_CHAPTER
from experiments.study.study import LOG
from experiments.text import duration, visible
from reports.formats.tables import count_cell, number_cell, p_cell
from reports.page.answer import MANY_FINDINGS, ONE_FINDING, count_words
from reports.page.html_tables import PageTable, frame_table
from reports.page.template import asset, template
from reports.wording.numbers import format_count
from reports.wording.verdicts import BELOW_MARGIN, format_difference, format_ratio

from .index import COMPLETE, COPY, INCOMPLETE, NOT_RUN, UNREADABLE, Catalogue
from .multiplicity import chance_lines


def to_html(catalogue: Catalogue) -> str:
    """The text of index.html: the same catalogue gives the same text; its links lead to the studies' pages only."""
    studies = catalogue.studies
    places = {chapter: place for place, chapter in enumerate(dict.fromkeys(studies["chapter"]))}
    ran = catalogue.in_state(COMPLETE, INCOMPLETE)
    return template("index.html.jinja").render(
        answer=answer(catalogue),
        facts=_facts(catalogue),
        claims=[_claim(row, places) for row in catalogue.claims.to_dict("records")],
        num_short=int((catalogue.claims["num_seeds_left_out"] > 0).sum()),
        chapters=_chapter_table(catalogue),
        chance=chance_lines(catalogue.claims),
        without_claims=ran[ran["num_claims"] == 0].to_dict("records"),
        incomplete=_with_chapter(catalogue.in_state(INCOMPLETE)),
        changed=_with_chapter(studies[(studies["state"] == COMPLETE) & (studies["note"] != "")]),
        not_run=_with_chapter(catalogue.in_state(NOT_RUN)),
        copies=catalogue.in_state(COPY).to_dict("records"),
        unreadable=catalogue.in_state(UNREADABLE).to_dict("records"),
        studies=[_study(row, places) for row in ran.to_dict("records")],
        command=catalogue.command,
        style=asset("style.css") + asset("index.css"),
        script=asset("sort.js"),
    )


def answer(catalogue: Catalogue) -> str:
    """How many claims came to what, and how many have not been tested."""
    findings = Counter(catalogue.claims["finding"])
    total = len(catalogue.claims)
    parts = []
    if total:
        words = count_words(findings, ONE_FINDING, MANY_FINDINGS)
        parts.append(
            f"Of {format_count(total, 'claim')} put to the test, {words}." if total > 1 else f"One claim: {words}."
        )
    else:
        parts.append("No claim has been put to the test yet.")
    untested = int(catalogue.chapters["not tested"].sum()) if len(catalogue.chapters) else 0
    if untested and total:
        parts.append(
            f"{format_count(untested, 'claim')} more {'waits' if untested == 1 else 'wait'} for {_studies(catalogue)}."
        )
    return " ".join(parts)


def _studies(catalogue: Catalogue) -> str:
    waiting = catalogue.in_state(NOT_RUN, UNREADABLE)
    number = int((waiting["num_claims"] > 0).sum())
    return "one study that has not been run" if number == 1 else f"{number} studies that have not been run"


def _facts(catalogue: Catalogue) -> dict[str, str]:
    studies = catalogue.studies
    seconds = float(studies["seconds"].sum())
    facts = {state.capitalize(): str(len(catalogue.in_state(state))) for state in (COMPLETE, INCOMPLETE, NOT_RUN)}
    if unreadable := len(catalogue.in_state(UNREADABLE)):
        facts["Unreadable"] = str(unreadable)
    facts["Trials"] = f"{int(studies['num_ended'].sum()):,}"
    if seconds:
        facts["Training time"] = duration(seconds)
    return facts


def _claim(row: Mapping[Any, Any], places: Mapping[str, int]) -> dict[str, Any]:
    margin, is_ratio = None if pd.isna(row["margin"]) else row["margin"], row["scale"] == LOG
    numbers = (row["mean_difference"], row["ci_low"], row["ci_high"])
    if is_ratio:
        mean, low, high = format_ratio(*numbers, None if margin is None else math.log10(margin))
    else:
        mean, low, high = format_difference(*numbers, margin)
    return {
        **row,
        "place": places[row["chapter"]],
        "chapter": row["chapter"] or NO_CHAPTER,
        "name": row["study"] if row["folder"] == row["study"] else f"{row['study']} ({row['folder']})",
        "setting": " · ".join(part for part in (row["metric"], row["data"], row["model"]) if part),
        "difference": number_cell(row["mean_difference"], mean),
        "interval": number_cell(row["ci_low"], f"{low} to {high}"),
        "count": count_cell(row["n"], row["n"] + row["num_seeds_left_out"]),
        "p": p_cell(row["p_adjusted"]),
        "remark": BELOW_MARGIN if row["below_margin"] else "",
        "is_incomplete": row["state"] == INCOMPLETE,
        "is_changed": row["is_changed"],
    }


def _study(row: Mapping[Any, Any], places: Mapping[str, int]) -> dict[str, Any]:
    return {
        **row,
        "place": places[row["chapter"]],
        "chapter": row["chapter"] or NO_CHAPTER,
        "time": duration(row["seconds"]),
        "trials": str(row["num_ended"])
        if row["num_ended"] == row["num_trials"]
        else f"{row['num_ended']}/{row['num_trials']}",
    }


def _with_chapter(studies: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            **{str(key): value for key, value in row.items()},
            "chapter": row["chapter"] or NO_CHAPTER,
            "expected": "" if pd.isna(row["minutes"]) else f"about {duration(60 * row['minutes'])}",
        }
        for row in studies.to_dict("records")
    ]


def _chapter_table(catalogue: Catalogue) -> PageTable:
    chapters = catalogue.chapters
    headers = {str(name): visible(str(name)) for name in chapters.columns}
    return frame_table("Claims by chapter, in the order of the course", chapters, headers)

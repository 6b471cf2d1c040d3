"""HTML page of the index: all claims with their verdicts, then all studies."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from experiments.study.catalogue import NO_CHAPTER
from experiments.study.study import LOG
from experiments.text import escape_controls, format_duration
from reports.formats.tables import count_cell, number_cell, p_cell
from reports.page.answer import MANY_FINDINGS, ONE_FINDING, describe_counts
from reports.page.html_tables import PageTable, tabulate_frame
from reports.page.template import load_template, read_asset
from reports.wording.numbers import format_count
from reports.wording.verdicts import BELOW_MARGIN, format_difference, format_ratio

from .index import COMPLETE, COPY, INCOMPLETE, NOT_RUN, UNREADABLE, Catalogue
from .multiplicity import describe_multiplicity


def to_html(catalogue: Catalogue) -> str:
    """Return the text of index.html. The same catalogue gives the same text; links lead to pages of studies only."""
    studies = catalogue.studies
    ranks = {chapter: rank for rank, chapter in enumerate(dict.fromkeys(studies["chapter"]))}
    ran = catalogue.in_state(COMPLETE, INCOMPLETE)
    return load_template("index.html.jinja").render(
        answer=compose_answer(catalogue),
        facts=_facts(catalogue),
        claims=[_claim(row, ranks) for row in catalogue.claims.to_dict("records")],
        num_short=int((catalogue.claims["num_seeds_left_out"] > 0).sum()),
        chapters=_chapter_table(catalogue),
        multiplicity=describe_multiplicity(catalogue.claims),
        without_claims=ran[ran["num_claims"] == 0].to_dict("records"),
        incomplete=_with_chapter(catalogue.in_state(INCOMPLETE)),
        changed=_with_chapter(studies[(studies["state"] == COMPLETE) & (studies["note"] != "")]),
        not_run=_with_chapter(catalogue.in_state(NOT_RUN)),
        copies=catalogue.in_state(COPY).to_dict("records"),
        unreadable=catalogue.in_state(UNREADABLE).to_dict("records"),
        studies=[_study(row, ranks) for row in ran.to_dict("records")],
        command=catalogue.command,
        style=read_asset("style.css") + read_asset("index.css"),
        script=read_asset("sort.js"),
    )


def compose_answer(catalogue: Catalogue) -> str:
    """Return the counts of the verdicts on claims, and of claims not tested."""
    findings = Counter(catalogue.claims["finding"])
    total = len(catalogue.claims)
    parts = []
    if total:
        words = describe_counts(findings, ONE_FINDING, MANY_FINDINGS)
        parts.append(f"Of {format_count(total, 'claim')} tested, {words}." if total > 1 else f"One claim: {words}.")
    else:
        parts.append("No claim has been tested yet.")
    untested = int(catalogue.chapters["not tested"].sum()) if len(catalogue.chapters) else 0
    if untested and total:
        parts.append(
            f"{format_count(untested, 'more claim')} {'needs' if untested == 1 else 'need'} {_name_missing(catalogue)}."
        )
    return " ".join(parts)


def _name_missing(catalogue: Catalogue) -> str:
    missing = catalogue.in_state(NOT_RUN, UNREADABLE)
    number = int((missing["num_claims"] > 0).sum())
    return "one study that has not been run" if number == 1 else f"{number} studies that have not been run"


def _facts(catalogue: Catalogue) -> dict[str, str]:
    studies = catalogue.studies
    seconds = float(studies["seconds"].sum())
    facts = {state.capitalize(): str(len(catalogue.in_state(state))) for state in (COMPLETE, INCOMPLETE, NOT_RUN)}
    if unreadable := len(catalogue.in_state(UNREADABLE)):
        facts["Unreadable"] = str(unreadable)
    facts["Trials"] = f"{int(studies['num_ended'].sum()):,}"
    if seconds:
        facts["Training time"] = format_duration(seconds)
    return facts


def _claim(row: Mapping[Any, Any], ranks: Mapping[str, int]) -> dict[str, Any]:
    margin, is_ratio = None if pd.isna(row["margin"]) else row["margin"], row["scale"] == LOG
    numbers = (row["mean_difference"], row["ci_low"], row["ci_high"])
    if is_ratio:
        mean, low, high = format_ratio(*numbers, None if margin is None else math.log10(margin))
    else:
        mean, low, high = format_difference(*numbers, margin)
    return {
        **row,
        "rank": ranks[row["chapter"]],
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


def _study(row: Mapping[Any, Any], ranks: Mapping[str, int]) -> dict[str, Any]:
    return {
        **row,
        "rank": ranks[row["chapter"]],
        "chapter": row["chapter"] or NO_CHAPTER,
        "time": format_duration(row["seconds"]),
        "trials": str(row["num_ended"])
        if row["num_ended"] == row["num_trials"]
        else f"{row['num_ended']}/{row['num_trials']}",
    }


def _with_chapter(studies: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            **{str(key): value for key, value in row.items()},
            "chapter": row["chapter"] or NO_CHAPTER,
            "expected": "" if pd.isna(row["minutes"]) else f"about {format_duration(60 * row['minutes'])}",
        }
        for row in studies.to_dict("records")
    ]


def _chapter_table(catalogue: Catalogue) -> PageTable:
    chapters = catalogue.chapters
    headers = {str(name): escape_controls(str(name)) for name in chapters.columns}
    return tabulate_frame("Claims by chapter", chapters, headers)

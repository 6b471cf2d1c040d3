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
    """Render index.html. The output is deterministic. It links only to study reports."""
    studies = catalogue.studies
    ranks = {chapter: rank for rank, chapter in enumerate(dict.fromkeys(studies["chapter"]))}
    ran = catalogue.select_by_state(COMPLETE, INCOMPLETE)
    complete = catalogue.select_by_state(COMPLETE)
    return load_template("index.html.jinja").render(
        answer=compose_answer(catalogue),
        facts=_collect_facts(catalogue),
        claims=[_build_claim_row(row, ranks) for row in catalogue.claims.to_dict("records")],
        num_claims_with_missing_seeds=int((catalogue.claims["num_seeds_left_out"] > 0).sum()),
        chapters=_build_chapter_table(catalogue),
        multiplicity=describe_multiplicity(catalogue.claims),
        without_claims=ran[ran["num_claims"] == 0].to_dict("records"),
        incomplete=_build_todo_rows(catalogue.select_by_state(INCOMPLETE)),
        changed=_build_todo_rows(complete[complete["is_changed"]]),
        without_report=_build_todo_rows(complete[~complete["is_changed"] & (complete["note"] != "")]),
        not_run=_build_todo_rows(catalogue.select_by_state(NOT_RUN)),
        copies=catalogue.select_by_state(COPY).to_dict("records"),
        unreadable=catalogue.select_by_state(UNREADABLE).to_dict("records"),
        studies=[_build_study_row(row, ranks) for row in ran.to_dict("records")],
        command=catalogue.command,
        style=read_asset("style.css") + read_asset("index.css"),
        script=read_asset("sort.js"),
    )


def compose_answer(catalogue: Catalogue) -> str:
    """Count the claims by verdict, and the claims that have not been tested."""
    findings = Counter(catalogue.claims["finding"])
    total = len(catalogue.claims)
    parts = []
    if total > 1:
        parts.append(f"Of {total} claims tested, {describe_counts(findings, ONE_FINDING, MANY_FINDINGS)}.")
    elif total == 1:
        parts.append(f"One claim was tested; it {ONE_FINDING[catalogue.claims['finding'].iloc[0]]}.")
    else:
        parts.append("No claim has been tested yet.")
    untested = int(catalogue.chapters["not tested"].sum()) if len(catalogue.chapters) else 0
    if untested and total:
        need = "needs" if untested == 1 else "need"
        parts.append(f"{format_count(untested, 'more claim')} {need} {_describe_missing_studies(catalogue)}.")
    return " ".join(parts)


def _describe_missing_studies(catalogue: Catalogue) -> str:
    """Count the studies whose claims have not been tested, and say why."""
    studies = catalogue.studies
    is_tested = studies["folder"].isin(catalogue.claims["folder"])
    missing = studies[(studies["num_claims"] > 0) & (studies["state"] != COPY) & ~is_tested]
    has, have = ("one study that", "has") if len(missing) == 1 else (f"{len(missing)} studies that", "have")
    reasons = {NOT_RUN: f"{have} not been run", UNREADABLE: "cannot be read"}
    by_state = [reasons.get(state, f"{have} no finished trial") for state in missing["state"]]
    return f"{has} {' or '.join(sorted(set(by_state), reverse=True))}"


def _collect_facts(catalogue: Catalogue) -> dict[str, str]:
    studies = catalogue.studies
    seconds = float(studies["seconds"].sum())
    facts = {
        state.capitalize(): str(len(catalogue.select_by_state(state))) for state in (COMPLETE, INCOMPLETE, NOT_RUN)
    }
    if unreadable := len(catalogue.select_by_state(UNREADABLE)):
        facts["Unreadable"] = str(unreadable)
    facts["Trials"] = f"{int(studies['num_ended'].sum()):,}"
    if seconds:
        facts["Training time"] = format_duration(seconds)
    return facts


def _build_claim_row(row: Mapping[Any, Any], ranks: Mapping[str, int]) -> dict[str, Any]:
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


def _build_study_row(row: Mapping[Any, Any], ranks: Mapping[str, int]) -> dict[str, Any]:
    return {
        **row,
        "rank": ranks[row["chapter"]],
        "chapter": row["chapter"] or NO_CHAPTER,
        "time": format_duration(row["seconds"]),
        "trials": str(row["num_ended"])
        if row["num_ended"] == row["num_trials"]
        else f"{row['num_ended']}/{row['num_trials']}",
    }


def _build_todo_rows(studies: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            **{str(key): value for key, value in row.items()},
            "chapter": row["chapter"] or NO_CHAPTER,
            "expected": "" if pd.isna(row["minutes"]) else f"about {format_duration(60 * row['minutes'])}",
        }
        for row in studies.to_dict("records")
    ]


def _build_chapter_table(catalogue: Catalogue) -> PageTable:
    chapters = catalogue.chapters
    headers = {str(name): escape_controls(str(name)) for name in chapters.columns}
    return tabulate_frame("Claims by chapter", chapters, headers)

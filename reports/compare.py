"""Two runs of a study side by side: which verdicts changed, with both intervals, and what differs in the plans."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from experiments.errors import InputError
from experiments.text import listed, visible

from .analysis.claims import CONTRADICTED, PRACTICALLY_EQUAL, SUPPORTED
from .report import Report
from .wording.numbers import ABSENT, format_count
from .wording.verdicts import EQUIVALENT, HARMS, IMPROVES, UNDECIDED, format_difference

_KEY = ["factor", "level", "reference", "context", "metric"]
_NUMBERS = ["n", "mean_difference", "ci_low", "ci_high", "verdict"]
_STYLES = {IMPROVES: "green", HARMS: "red", EQUIVALENT: "cyan", UNDECIDED: "yellow"}
_STYLES |= {SUPPORTED: "green", CONTRADICTED: "red", PRACTICALLY_EQUAL: "cyan"}
_MOST_LINES = 20  # of differences between the plans


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Changes:
    """What is different in the second of two reports.

    contrasts: one row a contrast that both have, with the columns of `contrast_table` that identify it, and n,
        mean_difference, ci_low, ci_high and verdict of each, ending in _before and _after; changed.
    claims: the same for claims of one name; claim, finding_before, finding_after, sentence_before, sentence_after.
    plan: sentences on what differs between the studies.
    only_before, only_after: how many contrasts only one of them has.
    """

    contrasts: pd.DataFrame
    claims: pd.DataFrame
    plan: tuple[str, ...]
    only_before: int
    only_after: int


def compare_reports(before: Report, after: Report) -> Changes:
    """What changed from one report to another.

    Raises:
        InputError: when the two share no contrast, so that there is nothing to compare.
    """
    both = before.contrasts.merge(after.contrasts, on=_KEY, suffixes=("_before", "_after"))
    if both.empty:
        raise InputError(
            f"{before.study.name} and {after.study.name} share no contrast: {_described(before)}; {_described(after)}. "
            "ablate report A B compares two runs of one study"
        )
    columns = [f"{name}_{when}" for name in _NUMBERS for when in ("before", "after")]
    contrasts = both[[*_KEY, *columns]].copy()
    contrasts["changed"] = contrasts["verdict_before"] != contrasts["verdict_after"]
    shown = ["claim", "finding", "sentence"]
    claims = before.claims[shown].merge(after.claims[shown], on="claim", suffixes=("_before", "_after"))
    claims["changed"] = claims["finding_before"] != claims["finding_after"]
    return Changes(
        contrasts=contrasts,
        claims=claims,
        plan=tuple(_plan(before.study.to_dict(), after.study.to_dict())),
        only_before=len(before.contrasts) - len(both),
        only_after=len(after.contrasts) - len(both),
    )


def print_changes(changes: Changes, names: tuple[str, str], console: Console, margin: float | None) -> None:
    """Print what changed, the verdicts first; `names` are what the two reports are called."""
    before, after = (visible(name) for name in names)
    contrasts = changes.contrasts
    moved = contrasts[contrasts["changed"]]
    console.print(Text(f"{before}  →  {after}", style="bold"), soft_wrap=True)
    console.print(Text(f"{len(moved)} of {format_count(len(contrasts), 'verdict')} changed"))
    for row in moved.to_dict("records"):
        context = f" ({row['context']})" if row["context"] else ""
        title = f"{row['factor']}{context}: {row['level']} - {row['reference']}"
        was, now = row["verdict_before"], row["verdict_after"]
        console.print()
        console.print(Text.assemble(visible(title), ": ", (was, _STYLES[was]), " → ", (now, _STYLES[now])))
        for when in ("before", "after"):
            console.print(Text(f"  {when:6} {_interval(row, when, margin)}", style="dim"))
    findings = changes.claims[changes.claims["changed"]]
    if len(changes.claims):
        console.print()
        console.print(Text(f"{len(findings)} of {format_count(len(changes.claims), 'claim')} changed"))
    for row in findings.to_dict("records"):
        was, now = row["finding_before"], row["finding_after"]
        console.print(Text.assemble(visible(row["claim"]), ": ", (was, _STYLES[was]), " → ", (now, _STYLES[now])))
        for when in ("before", "after"):
            console.print(Text(f"  {when:6} {visible(row[f'sentence_{when}'])}", style="dim"))
    console.print()
    for name, number in ((before, changes.only_before), (after, changes.only_after)):
        if number:
            console.print(Text(f"Only in {name}: {format_count(number, 'contrast')}"))
    console.print(Text("The plans differ:" if changes.plan else "The plans are the same."))
    for line in changes.plan[:_MOST_LINES]:
        console.print(Text(f"  {visible(line)}"))
    if len(changes.plan) > _MOST_LINES:
        console.print(Text(f"  and {format_count(len(changes.plan) - _MOST_LINES, 'difference')} more"))


def _described(report: Report) -> str:
    study = report.study
    factors = listed([f"{factor.name} (reference {factor.reference})" for factor in study.factors])
    return f"one has {factors}, measured by {study.metric.name}, {format_count(len(study.seeds), study.unit)}"


def _interval(row: Mapping[Hashable, Any], when: str, margin: float | None) -> str:
    values = [row[f"{name}_{when}"] for name in ("mean_difference", "ci_low", "ci_high")]
    mean, low, high = format_difference(values[0], values[1], values[2], margin)
    interval = f" (95 % interval {low} to {high})" if low != ABSENT else ""
    return f"{mean}{interval}, n = {row[f'n_{when}']}"


def _plan(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    was, now = dict(_flat(before)), dict(_flat(after))
    for key in dict.fromkeys([*was, *now]):
        if key not in now:
            yield f"{key}: {was[key]!r} is gone"
        elif key not in was:
            yield f"{key}: {now[key]!r} is new"
        elif was[key] != now[key]:
            yield f"{key}: {was[key]!r} → {now[key]!r}"


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings with their dotted keys; lists are leaves."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

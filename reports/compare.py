"""Comparison of two runs of a study: changed verdicts with both intervals, and differences between the plans."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from experiments.errors import InputError
from experiments.text import escape_controls, join_names

from .analysis.claims import CONTRADICTED, PRACTICALLY_EQUAL, SUPPORTED
from .report import Report
from .wording.numbers import ABSENT, format_count
from .wording.verdicts import EQUIVALENT, HARMS, IMPROVES, UNDECIDED, format_difference

_KEY = ["factor", "level", "reference", "context", "metric"]
_NUMBERS = ["n", "mean_difference", "ci_low", "ci_high", "verdict"]
_STYLES = {IMPROVES: "green", HARMS: "red", EQUIVALENT: "cyan", UNDECIDED: "yellow"}
_STYLES |= {SUPPORTED: "green", CONTRADICTED: "red", PRACTICALLY_EQUAL: "cyan"}
_MAX_LINES = 20  # differences between the plans that are printed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Changes:
    """Changes from one report to another.

    contrasts: one row per common contrast, with the identifying columns of `contrast_table`; n, mean_difference,
        ci_low, ci_high and verdict of both reports, with the suffixes _before and _after; changed.
    claims: one row per common claim: claim, finding and sentence of both reports, changed.
    plan: differences between the studies as sentences.
    only_before, only_after: number of contrasts in only one of the reports.
    """

    contrasts: pd.DataFrame
    claims: pd.DataFrame
    plan: tuple[str, ...]
    only_before: int
    only_after: int


def compare_reports(before: Report, after: Report) -> Changes:
    """Compare the contrasts, claims and plans of two reports.

    Raises:
        InputError: if the two have no contrast in common.
    """
    both = before.contrasts.merge(after.contrasts, on=_KEY, suffixes=("_before", "_after"))
    if both.empty:
        raise InputError(
            f"{before.study.name} and {after.study.name} have no contrast in common: {_describe_report(before)}; "
            f"{_describe_report(after)}. `ablate report A B` compares two runs of one study"
        )
    columns = [f"{name}_{when}" for name in _NUMBERS for when in ("before", "after")]
    contrasts = both[[*_KEY, *columns]].copy()
    contrasts["changed"] = contrasts["verdict_before"] != contrasts["verdict_after"]
    columns = ["claim", "finding", "sentence"]
    claims = before.claims[columns].merge(after.claims[columns], on="claim", suffixes=("_before", "_after"))
    claims["changed"] = claims["finding_before"] != claims["finding_after"]
    return Changes(
        contrasts=contrasts,
        claims=claims,
        plan=tuple(_compare_plans(before.study.to_dict(), after.study.to_dict())),
        only_before=len(before.contrasts) - len(both),
        only_after=len(after.contrasts) - len(both),
    )


def print_changes(changes: Changes, names: tuple[str, str], console: Console, margin: float | None) -> None:
    """Print the changed verdicts, then the changed claims and plans; `names` are the names of the two reports."""
    before, after = (escape_controls(name) for name in names)
    contrasts = changes.contrasts
    changed = contrasts[contrasts["changed"]]
    console.print(Text(f"{before}  →  {after}", style="bold"), soft_wrap=True)
    console.print(Text(f"{len(changed)} of {format_count(len(contrasts), 'verdict')} changed"))
    for row in changed.to_dict("records"):
        context = f" ({row['context']})" if row["context"] else ""
        title = f"{row['factor']}{context}: {row['level']} - {row['reference']}"
        old, new = row["verdict_before"], row["verdict_after"]
        console.print()
        console.print(Text.assemble(escape_controls(title), ": ", (old, _STYLES[old]), " → ", (new, _STYLES[new])))
        for when in ("before", "after"):
            console.print(Text(f"  {when:6} {_format_interval(row, when, margin)}", style="dim"))
    findings = changes.claims[changes.claims["changed"]]
    if len(changes.claims):
        console.print()
        console.print(Text(f"{len(findings)} of {format_count(len(changes.claims), 'claim')} changed"))
    for row in findings.to_dict("records"):
        old, new = row["finding_before"], row["finding_after"]
        console.print(
            Text.assemble(escape_controls(row["claim"]), ": ", (old, _STYLES[old]), " → ", (new, _STYLES[new]))
        )
        for when in ("before", "after"):
            console.print(Text(f"  {when:6} {escape_controls(row[f'sentence_{when}'])}", style="dim"))
    console.print()
    for name, number in ((before, changes.only_before), (after, changes.only_after)):
        if number:
            console.print(Text(f"Only in {name}: {format_count(number, 'contrast')}"))
    console.print(Text("The plans differ:" if changes.plan else "The plans are identical."))
    for line in changes.plan[:_MAX_LINES]:
        console.print(Text(f"  {escape_controls(line)}"))
    if len(changes.plan) > _MAX_LINES:
        console.print(Text(f"  and {format_count(len(changes.plan) - _MAX_LINES, 'difference')} more"))


def _describe_report(report: Report) -> str:
    study = report.study
    factors = join_names([f"{factor.name} (reference {factor.reference})" for factor in study.factors])
    return f"one has {factors}, the metric {study.metric.name}, {format_count(len(study.seeds), study.unit)}"


def _format_interval(row: Mapping[Hashable, Any], when: str, margin: float | None) -> str:
    values = [row[f"{name}_{when}"] for name in ("mean_difference", "ci_low", "ci_high")]
    mean, low, high = format_difference(values[0], values[1], values[2], margin)
    interval = f" (95 % confidence interval {low} to {high})" if low != ABSENT else ""
    return f"{mean}{interval}, n = {row[f'n_{when}']}"


def _compare_plans(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = dict(_flatten(before)), dict(_flatten(after))
    for key in dict.fromkeys([*old, *new]):
        if key not in new:
            yield f"{key}: {old[key]!r} is removed"
        elif key not in old:
            yield f"{key}: {new[key]!r} is added"
        elif old[key] != new[key]:
            yield f"{key}: {old[key]!r} → {new[key]!r}"


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings with their dotted keys; lists are leaves."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value

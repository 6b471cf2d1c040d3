"""A report as one JSON document, for programs: every table with all digits, under a version of its form."""

import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pandas as pd

from reports.mechanism_maps import drop_mechanism_metrics
from reports.report import Report

SCHEMA = 1
PACKAGES = ("numpy", "pandas", "scipy")
ELSEWHERE = {"curves": "curves.csv"}  # as long as the training: too long for one document
_OF_MECHANISMS = {"mechanisms": "trials.csv"}  # a column a layer and quantity: hundreds of each trial


def to_document(report: Report) -> dict[str, Any]:
    """The content of report.json: plain data that `json` writes and any language reads.

    Keys: schema (1; it changes when a key changes its meaning or goes away), study (as in a study file), versions (of
    the analysis), tables (by name, a list of records), notes, scope, trials_of_earlier_plans, elsewhere (what is
    in another file: the curves, and the final metrics of mechanisms that no claim is on). A number that is missing or
    NaN is null; infinities are "Infinity" and "-Infinity".
    """
    trials = drop_mechanism_metrics(report)
    tables = {
        "trials": trials,
        "cells": _with_levels(report.cells),
        "contrasts": report.contrasts,
        "claims": report.claims,
        "interactions": report.interactions,
        "shares": report.variance_shares,
        "crossed": report.seed_and_example_variance,
        "outcome_rates": report.outcome_rates,
        "bands": report.curve_differences,
        "thresholds": report.thresholds,
        "audit": report.audit,
    }
    return {
        "schema": SCHEMA,
        "study": report.study.to_dict(),
        "versions": {package: version(package) for package in PACKAGES},
        "tables": {name: records(table) for name, table in tables.items()},
        "notes": list(report.notes),
        "scope": report.scope,
        "trials_of_earlier_plans": report.num_unplanned,
        "elsewhere": ELSEWHERE | (_OF_MECHANISMS if len(trials.columns) < len(report.trials.columns) else {}),
    }


def to_json(report: Report) -> str:
    """The text of report.json."""
    document = to_document(report)
    tables = document.pop("tables")
    head = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1, default=str)
    blocks = []
    for name, records in tables.items():  # a record a line: short, and yet a diff shows what changed
        lines = ",\n".join(json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)
        blocks.append(f"  {json.dumps(name)}: [\n{lines}\n  ]" if records else f"  {json.dumps(name)}: []")
    joined = ",\n".join(blocks)
    return f'{head.removesuffix("}").rstrip()},\n "tables": {{\n{joined}\n }}\n}}\n'


def _with_levels(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells with their levels as one column, since a factor may be called as a column is."""
    levels = [dict(zip(map(str, cells.index.names), cell, strict=True)) for cell in cells.index]
    table = cells.reset_index(drop=True)
    table.insert(0, "cell", pd.Series(levels, dtype=object))
    return table


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as plain data: a record a row, missing numbers as None."""
    columns = {str(name): [_plain(value) for value in frame[name].tolist()] for name in frame.columns}
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return None if pd.isna(value) else value

"""JSON document of a report, for programs: every table at full precision, with the version of its schema."""

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
OTHER_FILES = {"curves": "curves.csv"}  # too long for one document
_OF_MECHANISMS = {"mechanisms": "trials.csv"}  # hundreds of columns, one for each layer and quantity


def to_document(report: Report) -> dict[str, Any]:
    """Return the content of report.json as plain data.

    Keys: schema (1; it changes when a key is removed or changes its meaning), study (as in a study file), versions (of
    the packages of the analysis), tables (lists of records by name), notes, scope, trials_of_earlier_plans, elsewhere
    (names of other files: of the curves, and of final metrics of mechanisms without a claim). Missing numbers and NaN
    are null; infinities are "Infinity" and "-Infinity".
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
        "tables": {name: to_records(table) for name, table in tables.items()},
        "notes": list(report.notes),
        "scope": report.scope,
        "trials_of_earlier_plans": report.num_unplanned,
        "elsewhere": OTHER_FILES | (_OF_MECHANISMS if len(trials.columns) < len(report.trials.columns) else {}),
    }


def to_json(report: Report) -> str:
    """Return the text of report.json."""
    document = to_document(report)
    tables = document.pop("tables")
    head = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1, default=str)
    blocks = []
    for name, table in tables.items():  # one record per line, for readable diffs
        lines = ",\n".join(json.dumps(record, ensure_ascii=False, allow_nan=False) for record in table)
        blocks.append(f"  {json.dumps(name)}: [\n{lines}\n  ]" if table else f"  {json.dumps(name)}: []")
    joined = ",\n".join(blocks)
    return f'{head.removesuffix("}").rstrip()},\n "tables": {{\n{joined}\n }}\n}}\n'


def _with_levels(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with their levels in one column, since a factor may have the name of another column."""
    levels = [dict(zip(map(str, cells.index.names), cell, strict=True)) for cell in cells.index]
    table = cells.reset_index(drop=True)
    table.insert(0, "cell", pd.Series(levels, dtype=object))
    return table


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as plain data: a record for each row, missing numbers as None."""
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

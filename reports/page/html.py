"""HTML page of a report: answer, verdicts, figures, method, and all trials."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pandas as pd

from experiments.text import escape_controls
from experiments.trials.trial import TrialStatus
from reports.analysis.cells import MISSING
from reports.analysis.frame import name_metric_column
from reports.figures import figures_of
from reports.formats.tables import (
    COUNTS,
    MARK,
    level_columns,
    tabulate_cells,
    tabulate_contrasts,
    tabulate_interactions,
    tabulate_rates,
    tabulate_shares,
)
from reports.mechanism_maps import drop_mechanism_metrics
from reports.report import Report
from reports.wording.method import describe_method
from reports.wording.numbers import format_count

from .answer import compose_answer
from .html_tables import PageTable, make_page_table, tabulate_details, tabulate_frame
from .layer_table import tabulate_layers
from .template import load_template, read_asset

PACKAGES = ("pandas", "numpy", "scipy", "matplotlib", "jinja2")
_MOST_METRICS = 6  # columns of the table of trials


def to_html(report: Report, digests: Mapping[str, str] | None = None) -> str:
    """Return the text of index.html. The same report gives the same text, and no link leads out of the file.

    Args:
        report: what is shown.
        digests: SHA-256 of the files in the same folder by name, so that a page can be matched with its data.
    """
    return load_template("page.html.jinja").render(
        study=report.study,
        answer=compose_answer(report),
        claims=report.claims.to_dict("records"),
        notes=report.notes,
        method=describe_method(report.study, len(report.cells)),
        scope=report.scope,
        audit=report.audit.to_dict("records"),
        figures=figures_of(report),
        tables=_tables(report),
        layer_tables=tabulate_layers(report),
        sentences=list(report.interactions["sentence"]),
        environment=_environment(report),
        study_text=_study_text(report),
        digests=dict(digests or {}),
        style=read_asset("style.css"),
        script=read_asset("sort.js"),
    )


def _tables(report: Report) -> dict[str, PageTable]:
    """Return the tables that have rows, by name."""
    study = report.study
    main, simple = report.main_effects, report.simple_effects
    numbers = tabulate_cells(report.cells, study.unit).drop_empty(MISSING)
    shown = [header for header in numbers.headers if header not in {"low", "high"}]
    tables = {
        "verdicts": _verdicts(report, main, f"Main effects on {study.metric.name}"),
        "details": tabulate_details(main),
        "simple": _verdicts(report, simple, f"Simple effects on {study.metric.name}"),
        "cells": make_page_table("Every cell", level_columns(report.cells).join(numbers.select(shown))),
        "interactions": make_page_table(
            "Differences of differences: the contrast under the first level of another factor minus the contrast under "
            "the second",
            tabulate_interactions(report.interactions, study.metric, study.unit, minus="−").select(
                ["contrast", "under", "verdict", "difference", "95 % interval", "p (Holm)", COUNTS[study.unit], "MDE"]
            ),
        ),
        "shares": make_page_table("Shares of the variance", tabulate_shares(report.variance_shares)),
        "crossed": _crossed(report.seed_and_example_variance),
        "rates": make_page_table(
            "Cells with trials that diverged, with the rate of divergence and its 95 % Wilson interval",
            tabulate_rates(report.outcome_rates, report.cells),
        ),
        "thresholds": tabulate_frame(
            "Epochs needed to reach a threshold. Trials that never reached it are censored",
            report.thresholds,
            _name_columns(report.thresholds),
        ),
        "trials": _trials(report),
    }
    return {name: table for name, table in tables.items() if table.rows}


def _verdicts(report: Report, contrasts: pd.DataFrame, caption: str) -> PageTable:
    study = report.study
    numbers = ["difference", "95 % interval", "p (Holm)", COUNTS[study.unit], "MDE"]
    table = tabulate_contrasts(contrasts, study.metric, study.unit)
    table = table.select(["factor", "context", "level − reference", "verdict", *numbers]).drop_empty(["context"])
    marked = f" {MARK}: {study.unit}s are left out." if contrasts["num_seeds_left_out"].any() else ""
    return make_page_table(caption, table, f"MDE: the true difference that is detected with 80 % power.{marked}")


def _trials(report: Report) -> PageTable:
    study, trials = report.study, drop_mechanism_metrics(report)
    factors = [factor.name for factor in study.factors]
    main = name_metric_column(study, study.metric.name)
    names = list(map(str, trials.columns))
    logged = names[names.index("backend") + 1 : names.index("seconds")]
    metrics = [main, *(name for name in logged if name != main)]
    shown = [*factors, "seed", "status", *metrics[:_MOST_METRICS], "seconds"]
    more = len(metrics) - len(metrics[:_MOST_METRICS]) + len(report.trials.columns) - len(trials.columns)
    note = "trials.csv has every trial, every metric and every digit."
    if more > 0:
        note = f"trials.csv has {format_count(more, 'more metric')}, every trial and every digit."
    return tabulate_frame("Every trial", trials, {name: escape_controls(name) for name in shown}, note)


def _crossed(crossed: pd.DataFrame) -> PageTable:
    """Return the table in percentage points, rounded to 0.01, which is finer than usual test sets resolve."""
    points = {name: (100 * crossed[name]).round(2) for name in crossed.columns if crossed[name].dtype.kind == "f"}
    rows = crossed.to_dict("records")
    shown = pd.DataFrame(
        {
            "factor": [row["factor"] for row in rows],
            "contrast": [f"{row['level']} − {row['reference']}" for row in rows],
            "seeds": [row["n_seeds"] for row in rows],
            "examples": [f"{row['n_examples']:,}" for row in rows],
            "difference": points.get("mean_difference", pd.Series(dtype=float)).to_list(),
            "from": points.get("ci_low", pd.Series(dtype=float)).to_list(),
            "to": points.get("ci_high", pd.Series(dtype=float)).to_list(),
            "SD of seeds": points.get("sd_seeds", pd.Series(dtype=float)).to_list(),
            "SD of test sets": points.get("sd_examples", pd.Series(dtype=float)).to_list(),
        }
    )
    caption = "Differences in test accuracy, in percentage points, with 95 % intervals over seeds and test examples"
    note = "SD of seeds: between trainings. SD of test sets: between test sets of this size."
    return tabulate_frame(caption, shown, {name: name for name in shown.columns}, note)


def _name_columns(frame: pd.DataFrame) -> dict[str, str]:
    return {str(column): escape_controls(str(column)).replace("_", " ") for column in frame.columns}


def _environment(report: Report) -> dict[str, str]:
    trials = report.trials
    done = trials[trials["status"] == TrialStatus.FINISHED]
    backends = done["backend"].value_counts().sort_index()
    facts: dict[str, Any] = {
        "Analysis": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
        ),
        "Trained by": ", ".join(
            f"{backend} ({format_count(int(count), 'trial')})" for backend, count in backends.items()
        ),
        "Training time": (
            f"{trials['seconds'].sum():,.0f} s in total, median {done['seconds'].median():.2g} s per trial"
        ),
    }
    sizes = done["num_parameters" if "num_parameters" in done else "num_parameters (trial)"].dropna()
    if len(sizes):
        low, high = int(sizes.min()), int(sizes.max())
        facts["Parameters"] = f"{low:,} in every network" if low == high else f"{low:,} to {high:,} by network"
    facts["Trials of earlier plans"] = f"{report.num_unplanned}, not in this report" if report.num_unplanned else "none"
    return facts


def _study_text(report: Report) -> str:
    import yaml

    text: str = yaml.safe_dump(report.study.to_dict(), sort_keys=False, allow_unicode=True, width=100)
    return "\n".join(escape_controls(line) for line in text.split("\n"))

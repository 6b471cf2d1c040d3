"""A report as one HTML file, in the order in which it is read: answer, verdicts, figures, method, raw numbers."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pandas as pd

from experiments.text import visible
from experiments.trials.trial import TrialStatus
from reports.analysis.frame import metric_column
from reports.figures import figures_of
from reports.mechanism_maps import trials_without_mechanisms
from reports.report import Report
from reports.wording.method import method_lines
from reports.wording.numbers import counted

from .answer import answer
from .html_tables import Table, cell_table, detail_table, frame_table, verdict_table
from .layer_table import layer_tables
from .template import asset, template

PACKAGES = ("pandas", "numpy", "scipy", "matplotlib", "jinja2")
_MOST_METRICS = 6  # columns of the table of trials


def to_html(report: Report, digests: Mapping[str, str] | None = None) -> str:
    """The text of index.html: the same report gives the same text, and nothing in it leads out of the file.

    Arguments:
        report: what is shown.
        digests: SHA-256 by name of the files beside the page, so that it can be told what it belongs to.
    """
    return template("page.html.jinja").render(
        study=report.study,
        answer=answer(report),
        claims=report.claims.to_dict("records"),
        notes=report.notes,
        method=method_lines(report.study, len(report.cells)),
        scope=report.scope,
        audit=report.audit.to_dict("records"),
        figures=figures_of(report),
        tables=_tables(report),
        layer_tables=layer_tables(report),
        sentences=list(report.interactions["sentence"]),
        environment=_environment(report),
        study_text=_study_text(report),
        digests=dict(digests or {}),
        style=asset("style.css"),
        script=asset("sort.js"),
    )


def _tables(report: Report) -> dict[str, Table]:
    """The tables that have rows, by name."""
    study = report.study
    main, simple = report.main_effects, report.simple_effects
    rates = report.outcome_rates
    rates = rates if rates[["diverged", "failed"]].to_numpy().any() else rates.iloc[:0]
    tables = {
        "verdicts": verdict_table(main, study.metric, study.unit, f"Main effects on {study.metric.name}"),
        "details": detail_table(main),
        "simple": verdict_table(simple, study.metric, study.unit, f"Simple effects on {study.metric.name}"),
        "cells": cell_table(report.cells, study.unit),
        "interactions": frame_table(
            "Differences of differences: how much more a level changes under a level of another factor than under its "
            "reference, with 95 % intervals",
            report.interactions.assign(
                **{name: report.interactions[name].map(_rounded) for name in ("mean_difference", "ci_low", "ci_high")},
                contrast=_joined(report.interactions, "level_a", "reference_a", "factor_a"),
                other=_joined(report.interactions, "level_b", "reference_b", "factor_b"),
            ),
            {
                "contrast": "one factor",
                "other": "other factor",
                "verdict": "verdict",
                "mean_difference": "difference",
                "ci_low": "from",
                "ci_high": "to",
                "p_adjusted": "p (Holm)",
                "n": f"{study.unit}s",
            },
        ),
        "shares": frame_table(
            "Shares of the variance",
            report.shares,
            {
                "source": "source",
                "sum_of_squares": "sum of squares",
                "df": "df",
                "share": "share",
                "share_low": "from",
                "share_high": "to",
                "partial_omega_squared": "partial ω²",
                "p_value": "p",
            },
        ),
        "crossed": _crossed(report.crossed),
        "rates": frame_table(
            "Trials that diverged or failed, with the rate of divergence and its 95 % Wilson interval",
            rates,
            _itself(rates),
        ),
        "thresholds": frame_table(
            "How many epochs it took to reach a threshold; trials that never did are counted as such",
            report.thresholds,
            _itself(report.thresholds),
        ),
        "trials": _trials(report),
    }
    return {name: table for name, table in tables.items() if table.rows}


def _trials(report: Report) -> Table:
    study, trials = report.study, trials_without_mechanisms(report)
    first = [factor.name for factor in study.factors]
    own = metric_column(study, study.metric.name)
    names = list(map(str, trials.columns))
    logged = names[names.index("backend") + 1 : names.index("seconds")]
    metrics = [own, *(name for name in logged if name != own)]
    shown = [*first, "seed", "status", *metrics[:_MOST_METRICS], "seconds"]
    more = len(metrics) - len(metrics[:_MOST_METRICS]) + len(report.trials.columns) - len(trials.columns)
    note = "trials.csv has every trial, every metric and every digit."
    if more > 0:
        note = f"{counted(more, 'metric')} more in trials.csv, which has every trial and every digit."
    return frame_table("Every trial", trials, {name: visible(name) for name in shown}, note)


def _crossed(crossed: pd.DataFrame) -> Table:
    """In percentage points, of a hundredth: what a test set of any usual size cannot tell is left out."""
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
    caption = (
        "Differences in test accuracy, in percentage points, with 95 % intervals over other seeds and test examples"
    )
    note = "The first SD is from seed to seed, the second from one test set of this size to the next."
    return frame_table(caption, shown, {name: name for name in shown.columns}, note)


def _itself(frame: pd.DataFrame) -> dict[str, str]:
    return {str(column): visible(str(column)).replace("_", " ") for column in frame.columns}


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _joined(frame: pd.DataFrame, level: str, reference: str, factor: str) -> list[str]:
    return [
        f"{row[factor]}: {row[level]} − {row[reference]}"
        for row in frame[[factor, level, reference]].to_dict("records")
    ]


def _environment(report: Report) -> dict[str, str]:
    trials = report.trials
    done = trials[trials["status"] == TrialStatus.FINISHED]
    ways = done["backend"].value_counts().sort_index()
    facts: dict[str, Any] = {
        "Analysis": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
        ),
        "Trained by": ", ".join(f"{way} ({counted(int(count), 'trial')})" for way, count in ways.items()),
        "Training time": (
            f"{trials['seconds'].sum():,.0f} s in all; half of the trials took {done['seconds'].median():.2g} s or less"
        ),
    }
    sizes = done["num_parameters" if "num_parameters" in done else "num_parameters (trial)"].dropna()
    if len(sizes):
        low, high = int(sizes.min()), int(sizes.max())
        facts["Parameters"] = f"{low:,} in every network" if low == high else f"{low:,} to {high:,} by network"
    kept = counted(report.num_unplanned, "trial") if report.num_unplanned else "no trials"
    facts["Outside this report"] = f"the ledger keeps {kept} of earlier plans"
    return facts


def _study_text(report: Report) -> str:
    import yaml

    text: str = yaml.safe_dump(report.study.to_dict(), sort_keys=False, allow_unicode=True, width=100)
    return "\n".join(visible(line) for line in text.split("\n"))

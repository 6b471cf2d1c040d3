"""Workspace of a study: answer, a section for each factor, cells, metrics inside the networks, tables and page."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from reports.formats.markdown import escape, escape_paragraph, write_main_effects
from reports.page.answer import compose_answer
from reports.report import Report
from reports.wandb.destination import LONGEST_NAME, Destination
from reports.wandb.live.report_run import PAGE, TABLES, get_table_key
from reports.wandb.run_content import AGGREGATE, TRAIN, get_metric_key

from .panels import (
    EPOCH,
    Metrics,
    count_runs_to_show,
    get_factor_key,
    is_averaged_by_level,
    list_metrics,
    make_filter,
    make_trial_runset,
    plot_cells,
    plot_factor,
)

_NUM_ROWS = 2  # of three panels on a page of a section
SOURCE = (
    "Numbers and verdicts come from the study's ledger, in which trials are paired by seed; Weights & Biases only "
    "shows them. Its panels average runs without pairing, and their bands are not intervals of a difference."
)


def build_workspace(report: Report, destination: Destination) -> Any:
    """Return the workspace of a study."""
    metric, goal = get_metric_key(report.study.metric.name), report.study.metric.goal
    return ws.Workspace(
        entity=destination.entity or "",
        project=destination.project,
        name=_replace_emojis(f"Ablation: {destination.group}")[:LONGEST_NAME],
        sections=[
            _section("Answer", [wr.MarkdownPanel(markdown=_answer(report))], columns=1),
            *_sections_of_metrics(report, list_metrics(report)),
            _section("Tables and report", make_table_panels(report), is_open=False, columns=2),
        ],
        settings=ws.WorkspaceSettings(x_axis=EPOCH, max_runs=count_runs_to_show(report)),
        runset_settings=ws.RunsetSettings(
            filters=make_filter(destination, [TRAIN, AGGREGATE]),  # one run set: AGGREGATE is for the tables
            groupby=[ws.Config(get_factor_key(report, factor)) for factor in report.study.factors],
            order=[ws.Ordering(ws.Summary(metric), ascending=goal == "min")],
            pinned_columns=make_trial_runset(report, destination).visible_columns,
        ),
    )


def make_table_panels(report: Report) -> list[Any]:
    """Return panels with the tables that have rows, and the HTML page."""
    tables = [name for name, frame in TABLES.items() if len(getattr(report, frame))]
    return [
        *(wr.WeavePanelSummaryTable(table_name=get_table_key(name)) for name in tables),
        wr.MediaBrowser(title="The whole report", num_columns=1, media_keys=[PAGE]),
    ]


def describe_averages(report: Report) -> str:
    """Return a paragraph on what the panels of a factor average besides seeds; empty if they average seeds only."""
    study = report.study
    if len(study.factors) == 1:
        return ""
    if study.design != "full":
        return (
            "Each factor was varied with the others at their reference, so a level is compared within these runs only."
        )
    of_all = "all cells of a level" if not study.exclude else "those cells of a level that the design has"
    return f"The panels of a factor average over {study.unit}s and over {of_all}; the tables compare within them."


def _section(name: str, panels: Sequence[Any], *, is_open: bool = True, columns: int = 3, rows: int = 1) -> Any:
    return ws.Section(
        name=name,
        panels=list(panels),
        is_open=is_open,
        layout_settings=ws.SectionLayoutSettings(columns=columns, rows=rows),
        panel_settings=ws.SectionPanelSettings(x_axis=EPOCH),
    )


def _sections_of_metrics(report: Report, metrics: Metrics) -> list[Any]:
    final = metrics.finals[0] if metrics.finals else None
    factors = report.study.factors if is_averaged_by_level(report) else ()
    sections = [
        _section(f"By {factor.name}", plot_factor(report, factor, metrics.epochs, final=final), rows=_NUM_ROWS)
        for factor in factors
    ]
    if len(report.study.factors) > 1:
        plots = plot_cells(report, metrics.epochs, final=final)
        sections.append(_section("Cells", plots, is_open=not factors, rows=_NUM_ROWS))
    if metrics.mechanisms:
        sections.append(_section("Mechanisms", plot_cells(report, metrics.mechanisms), is_open=False, rows=_NUM_ROWS))
    if metrics.internal:
        by_factor = [
            _section(
                f"Inside the network, by {factor.name}", plot_factor(report, factor, metrics.internal), is_open=False
            )
            for factor in factors
        ]
        sections += by_factor or [
            _section("Inside the network, by cell", plot_cells(report, metrics.internal), is_open=False)
        ]
    return sections


def _answer(report: Report) -> str:
    blocks = [escape_paragraph(report.study.question)] if report.study.question else []
    blocks.append(f"**{escape_paragraph(compose_answer(report))}**")
    blocks += [block for block in write_main_effects(report) if block.startswith("|")]
    where = (
        describe_averages(report)
        if is_averaged_by_level(report)
        else "Each factor was varied with the others at their reference, and a workspace has one run set: panels by "
        "factor are in the report, in which each has its own run set."
    )
    blocks.append(escape(f"{SOURCE} {where}".strip()))
    return "\n\n".join(blocks)


def _replace_emojis(title: str) -> str:
    """Replace the characters that W&B refuses in the name of a workspace: emojis and similar signs.

    >>> _replace_emojis("lr + decay <3")
    'lr _ decay _3'
    """
    return "".join("_" if unicodedata.category(char) in {"So", "Sk", "Sm", "Sc", "Cs"} else char for char in title)

"""The workspace of a study: its answer, a section for each factor with seeds averaged, its cells, tables and page."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from reports.formats.markdown import escape, main_effect_blocks, paragraph
from reports.page.answer import answer
from reports.report import Report
from reports.wandb.destination import LONGEST_NAME, Place
from reports.wandb.live.report_run import PAGE, TABLES, table_key
from reports.wandb.run_content import AGGREGATE, TRAIN, metric_key

from .panels import (
    EPOCH,
    Metrics,
    cell_plots,
    factor_key,
    factor_plots,
    filters_of,
    is_averaged_by_level,
    metrics_of,
    most_runs,
    training_runs,
)

_ROWS = 2  # of three panels, before a section has pages
SOURCE = (
    "Numbers and verdicts come from the study's ledger, where trials are paired by seed; Weights & Biases only shows "
    "them. Its panels average runs by themselves, and their bands are no intervals of a difference."
)


def workspace_of(report: Report, place: Place) -> Any:
    """The workspace that shows a study, in the order in which a reader asks."""
    metric, goal = metric_key(report.study.metric.name), report.study.metric.goal
    return ws.Workspace(
        entity=place.entity or "",
        project=place.project,
        name=_plain(f"Ablation: {place.group}")[:LONGEST_NAME],
        sections=[
            _section("Answer", [wr.MarkdownPanel(markdown=_answer(report))], columns=1),
            *_sections_of_metrics(report, metrics_of(report)),
            _section("Tables and report", table_panels(report), is_open=False, columns=2),
        ],
        settings=ws.WorkspaceSettings(x_axis=EPOCH, max_runs=most_runs(report)),
        runset_settings=ws.RunsetSettings(
            filters=filters_of(place, [TRAIN, AGGREGATE]),  # the latter for the tables: there is one run set
            groupby=[ws.Config(factor_key(report, factor)) for factor in report.study.factors],
            order=[ws.Ordering(ws.Summary(metric), ascending=goal == "min")],
            pinned_columns=training_runs(report, place).visible_columns,
        ),
    )


def table_panels(report: Report) -> list[Any]:
    """The tables that are not empty, and the page."""
    tables = [name for name in TABLES if len(getattr(report, name))]
    return [
        *(wr.WeavePanelSummaryTable(table_name=table_key(name)) for name in tables),
        wr.MediaBrowser(title="The whole report", num_columns=1, media_keys=[PAGE]),
    ]


def notes_on_averages(report: Report) -> str:
    """What the panels of a factor average besides seeds, as a paragraph; nothing where it is seeds alone."""
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
        _section(f"By {factor.name}", factor_plots(report, factor, metrics.epochs, final=final), rows=_ROWS)
        for factor in factors
    ]
    if len(report.study.factors) > 1:
        plots = cell_plots(report, metrics.epochs, final=final)
        sections.append(_section("Cells", plots, is_open=not factors, rows=_ROWS))
    if metrics.mechanisms:
        sections.append(_section("Mechanisms", cell_plots(report, metrics.mechanisms), is_open=False, rows=_ROWS))
    if metrics.inside:
        by_factor = [
            _section(
                f"Inside the network, by {factor.name}", factor_plots(report, factor, metrics.inside), is_open=False
            )
            for factor in factors
        ]
        sections += by_factor or [
            _section("Inside the network, by cell", cell_plots(report, metrics.inside), is_open=False)
        ]
    return sections


def _answer(report: Report) -> str:
    blocks = [paragraph(report.study.question)] if report.study.question else []
    blocks.append(f"**{paragraph(answer(report))}**")
    blocks += [block for block in main_effect_blocks(report) if block.startswith("|")]
    where = (
        notes_on_averages(report)
        if is_averaged_by_level(report)
        else "Each factor was varied with the others at their reference, and a workspace has one set of runs: panels "
        "by factor stand in the report, where each has its own."
    )
    blocks.append(escape(f"{SOURCE} {where}".strip()))
    return "\n\n".join(blocks)


def _plain(title: str) -> str:
    """A title without what W&B refuses in the name of a workspace: emojis, and what it takes for some.

    >>> _plain("lr + decay <3")
    'lr _ decay _3'
    """
    return "".join("_" if unicodedata.category(char) in {"So", "Sk", "Sm", "Sc", "Cs"} else char for char in title)

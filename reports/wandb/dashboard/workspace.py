"""The workspace of a study: its answer, a section for each factor with seeds averaged, its cells, tables and page."""

from reports.formats.markdown import escape, main_effect_blocks, paragraph
from reports.page.answer import answer
from reports.report import Report
from reports.wandb.destination import Place

from .model import LoggedPage, LoggedTable, Panel, Section, Text, Workspace
from .panels import (
    Metrics,
    cell_plots,
    factor_plots,
    is_averaged_by_level,
    mechanism_plots,
    metrics_of,
    training_runs,
)

PAGE = "report"  # the key of the HTML page in the run that holds the tables
_ROWS = 2  # of three panels, before a section has pages
_TABLES = ("cells", "contrasts", "claims", "interactions", "shares")
SOURCE = (
    "Numbers and verdicts come from the study's ledger, where trials are paired by seed; Weights & Biases only shows "
    "them. Its panels average runs by themselves, and their bands are no intervals of a difference."
)


def workspace_of(report: Report, place: Place) -> Workspace:
    """The workspace that shows a study, in the order in which a reader asks."""
    return Workspace(
        title=f"Ablation: {place.group}",
        runs=training_runs(report, place, with_tables=True),
        sections=(
            Section(name="Answer", panels=(Text(markdown=_answer(report)),), columns=1),
            *_sections_of_metrics(report, metrics_of(report)),
            Section(name="Tables and report", panels=table_panels(report), is_open=False, columns=2),
        ),
    )


def table_panels(report: Report) -> tuple[Panel, ...]:
    """The tables that are not empty, and the page."""
    frames = (report.cells, report.contrasts, report.claims, report.interactions, report.shares)
    tables = [LoggedTable(key=table_key(name)) for name, frame in zip(_TABLES, frames, strict=True) if len(frame)]
    return *tables, LoggedPage(title="The whole report", key=PAGE)


def table_key(name: str) -> str:
    """The key of a table in the run that holds them.

    >>> table_key("cells")
    'tables/cells'
    """
    return f"tables/{name}"


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


def _sections_of_metrics(report: Report, metrics: Metrics) -> list[Section]:
    final = metrics.finals[0] if metrics.finals else None
    factors = report.study.factors if is_averaged_by_level(report) else ()
    sections = [
        Section(
            name=f"By {factor.name}",
            panels=tuple(factor_plots(report, factor, metrics.epochs, final=final)),
            rows=_ROWS,
        )
        for factor in factors
    ]
    if len(report.study.factors) > 1:
        panels = tuple(cell_plots(report, metrics.epochs, final=final))
        sections.append(Section(name="Cells", panels=panels, is_open=not factors, rows=_ROWS, groups_of_runs=True))
    if metrics.mechanisms:
        panels = tuple(mechanism_plots(report, metrics.mechanisms))
        sections.append(Section(name="Mechanisms", panels=panels, is_open=False, rows=_ROWS, groups_of_runs=True))
    if metrics.inside:
        inside = [
            Section(
                name=f"Inside the network, by {factor.name}",
                panels=tuple(factor_plots(report, factor, metrics.inside)),
                is_open=False,
            )
            for factor in factors
        ]
        by_cell = Section(
            name="Inside the network, by cell",
            panels=tuple(cell_plots(report, metrics.inside)),
            is_open=False,
            groups_of_runs=True,
        )
        sections += inside or [by_cell]
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

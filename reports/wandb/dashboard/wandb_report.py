"""Report on a study in Weights & Biases: text from the ledger, panels from the runs."""

from collections.abc import Iterator
from typing import Any

import wandb_workspaces.reports.v2 as wr

from reports.formats.markdown import escape, escape_paragraph, write_bullets, write_claims, write_main_effects
from reports.page.answer import compose_answer
from reports.report import Report
from reports.wandb.destination import LONGEST_NAME, Destination
from reports.wording.numbers import format_count

from .panels import list_metrics, make_factor_runset, make_table_runset, make_trial_runset, plot_cells, plot_factor
from .workspace import SOURCE, describe_averages, make_table_panels

_EXPLORATORY = (
    "Weights & Biases computes this from the configurations and the final metric of all runs, by a random forest and a "
    "correlation, without intervals and without pairing: it is exploratory and no verdict. The variance shares among "
    "the tables come from the study's analysis."
)

_WIDTH = 24  # columns of a report's grid
_PLOT_SIZE = (8, 7)
_HEIGHTS = {wr.MediaBrowser: 24}  # of panels as wide as the report; 8 for others


def build_wandb_report(report: Report, destination: Destination) -> Any:
    """Return the report on a study: question, answer, verdicts, claims and caveats, then the panels."""
    return wr.Report(
        entity=destination.entity or "",
        project=destination.project,
        title=f"Ablation: {destination.group}"[:LONGEST_NAME],
        description=report.study.question,
        blocks=[wr.TableOfContents(), *_write_text(report), *_make_grids(report, destination)],
        width="fluid",
    )


def _write_text(report: Report) -> Iterator[Any]:
    yield wr.CalloutBlock(text=f"{SOURCE} {_describe_state(report)}")
    if report.study.question:
        yield wr.H2(text="Question")
        yield wr.MarkdownBlock(text=escape_paragraph(report.study.question))
    yield wr.H2(text="Answer")
    yield wr.MarkdownBlock(text=escape_paragraph(compose_answer(report)))
    for block in (*write_main_effects(report), *write_claims(report)):
        title = block.removeprefix("## ")
        yield wr.H2(text=title) if title != block else wr.MarkdownBlock(text=block)
    if report.notes:
        yield wr.H2(text="Caveats")
        yield wr.MarkdownBlock(text=write_bullets(report.notes))


def _make_grids(report: Report, destination: Destination) -> Iterator[Any]:
    metrics = list_metrics(report)
    final = metrics.finals[0] if metrics.finals else None
    averages = describe_averages(report)
    has_several_factors = len(report.study.factors) > 1
    for factor in report.study.factors:
        yield wr.H2(text=f"By {factor.name}")
        if averages:
            yield wr.MarkdownBlock(text=escape(averages))
        yield _make_grid(
            make_factor_runset(report, destination, factor), plot_factor(report, factor, metrics.epochs, final=final)
        )
    if has_several_factors:
        yield wr.H2(text="Cells")
        yield _make_grid(make_trial_runset(report, destination), plot_cells(report, metrics.epochs, final=final))
    if metrics.mechanisms:
        yield wr.H2(text="Mechanisms")
        yield _make_grid(make_trial_runset(report, destination), plot_cells(report, metrics.mechanisms))
    if metrics.internal:
        for factor in report.study.factors:
            yield wr.H2(text=f"Inside the network, by {factor.name}")
            yield _make_grid(
                make_factor_runset(report, destination, factor), plot_factor(report, factor, metrics.internal)
            )
    yield wr.H2(text="Tables and report")
    yield wr.MarkdownBlock(text="`ablate wandb push` writes these from the ledger.")
    yield _make_grid(make_table_runset(destination), make_table_panels(report))
    if has_several_factors and final is not None:
        yield wr.H2(text="Exploratory: parameter importance")
        yield wr.MarkdownBlock(text=escape(_EXPLORATORY))
        yield _make_grid(make_trial_runset(report, destination), [wr.ParameterImportancePlot(with_respect_to=final)])


def _make_grid(runs: Any, panels: list[Any]) -> Any:
    """Arrange panels from left to right and top to bottom: plots side by side, all others as wide as the report."""
    x, y, row_height = 0, 0, 0
    for panel in panels:
        is_plot = isinstance(panel, wr.BarPlot | wr.LinePlot)
        width, height = _PLOT_SIZE if is_plot else (_WIDTH, _HEIGHTS.get(type(panel), 8))
        if x + width > _WIDTH:
            x, y, row_height = 0, y + row_height, 0
        panel.layout = wr.Layout(x=x, y=y, w=width, h=height)
        x, row_height = x + width, max(row_height, height)
    return wr.PanelGrid(runsets=[runs], panels=panels, hide_run_sets=False)


def _describe_state(report: Report) -> str:
    counts = report.trials["status"].value_counts()
    total = format_count(len(report.trials), "trial")
    return f"Written from {total}: {', '.join(f'{counts[status]} {status}' for status in sorted(counts.index))}."

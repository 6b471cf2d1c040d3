"""The report that tells a study's answer in Weights & Biases: text from the ledger, panels from the runs."""

from collections.abc import Iterator
from typing import Any

import wandb_workspaces.reports.v2 as wr

from reports.formats.markdown import bullets, claim_blocks, escape, main_effect_blocks, paragraph
from reports.page.answer import answer
from reports.report import Report
from reports.wandb.destination import LONGEST_NAME, Place
from reports.wording.numbers import format_count

from .panels import cell_plots, factor_plots, factor_runs, metrics_of, table_runs, training_runs
from .workspace import SOURCE, notes_on_averages, table_panels

_EXPLORATORY = (
    "Computed by Weights & Biases from the configurations and the final metric of all runs, by a random forest and a "
    "correlation, without intervals and without pairing: a hint where to look, and no verdict. The shares of variance "
    "among the tables are the study's own."
)

_WIDTH = 24  # columns of a report's grid
_PLOT_SIZE = (8, 7)
_HEIGHTS = {wr.MediaBrowser: 24}  # of panels as wide as the report, else 8


def wandb_report_of(report: Report, place: Place) -> Any:
    """The report on a study: question, answer, verdicts, claims and caveats, and then the panels."""
    return wr.Report(
        entity=place.entity or "",
        project=place.project,
        title=f"Ablation: {place.group}"[:LONGEST_NAME],
        description=report.study.question,
        blocks=[wr.TableOfContents(), *_words(report), *_panels(report, place)],
        width="fluid",
    )


def _words(report: Report) -> Iterator[Any]:
    yield wr.CalloutBlock(text=f"{SOURCE} {_state(report)}")
    if report.study.question:
        yield wr.H2(text="Question")
        yield wr.MarkdownBlock(text=paragraph(report.study.question))
    yield wr.H2(text="Answer")
    yield wr.MarkdownBlock(text=paragraph(answer(report)))
    for block in (*main_effect_blocks(report), *claim_blocks(report)):
        title = block.removeprefix("## ")
        yield wr.H2(text=title) if title != block else wr.MarkdownBlock(text=block)
    if report.notes:
        yield wr.H2(text="Caveats")
        yield wr.MarkdownBlock(text=bullets(report.notes))


def _panels(report: Report, place: Place) -> Iterator[Any]:
    metrics = metrics_of(report)
    final = metrics.finals[0] if metrics.finals else None
    about = notes_on_averages(report)
    several = len(report.study.factors) > 1
    for factor in report.study.factors:
        yield wr.H2(text=f"By {factor.name}")
        if about:
            yield wr.MarkdownBlock(text=escape(about))
        yield _grid(factor_runs(report, place, factor), factor_plots(report, factor, metrics.epochs, final=final))
    if several:
        yield wr.H2(text="Cells")
        yield _grid(training_runs(report, place), cell_plots(report, metrics.epochs, final=final))
    if metrics.mechanisms:
        yield wr.H2(text="Mechanisms")
        yield _grid(training_runs(report, place), cell_plots(report, metrics.mechanisms))
    if metrics.inside:
        for factor in report.study.factors:
            yield wr.H2(text=f"Inside the network, by {factor.name}")
            yield _grid(factor_runs(report, place, factor), factor_plots(report, factor, metrics.inside))
    yield wr.H2(text="Tables and report")
    yield wr.MarkdownBlock(text="`ablate wandb push` writes these from the ledger.")
    yield _grid(table_runs(place), table_panels(report))
    if several and final is not None:
        yield wr.H2(text="Exploratory: parameter importance")
        yield wr.MarkdownBlock(text=escape(_EXPLORATORY))
        yield _grid(training_runs(report, place), [wr.ParameterImportancePlot(with_respect_to=final)])


def _grid(runs: Any, panels: list[Any]) -> Any:
    """Panels from left to right and top to bottom: plots side by side, all others as wide as the report."""
    x, y, row_height = 0, 0, 0
    for panel in panels:
        is_plot = isinstance(panel, wr.BarPlot | wr.LinePlot)
        width, height = _PLOT_SIZE if is_plot else (_WIDTH, _HEIGHTS.get(type(panel), 8))
        if x + width > _WIDTH:
            x, y, row_height = 0, y + row_height, 0
        panel.layout = wr.Layout(x=x, y=y, w=width, h=height)
        x, row_height = x + width, max(row_height, height)
    return wr.PanelGrid(runsets=[runs], panels=panels, hide_run_sets=False)


def _state(report: Report) -> str:
    counts = report.trials["status"].value_counts()
    total = format_count(len(report.trials), "trial")
    return f"Written from {total}: {', '.join(f'{counts[status]} {status}' for status in sorted(counts.index))}."

"""The report that tells a study's answer in Weights & Biases: text from the ledger, panels from the runs."""

from collections.abc import Iterator

from reports.formats.markdown import bullets, claim_blocks, escape, main_effect_blocks, paragraph
from reports.page.answer import answer
from reports.report import Report
from reports.wandb.destination import Place
from reports.wording.numbers import counted

from .model import Callout, Grid, Heading, Importance, Story, Text
from .panels import (
    cell_plots,
    factor_plots,
    factor_runs,
    mechanism_plots,
    metrics_of,
    table_runs,
    training_runs,
)
from .workspace import SOURCE, notes_on_averages, table_panels

_EXPLORATORY = (
    "Computed by Weights & Biases from the configurations and the final metric of all runs, by a random forest and a "
    "correlation, without intervals and without pairing: a hint where to look, and no verdict. The shares of variance "
    "among the tables are the study's own."
)

Block = Heading | Callout | Text | Grid


def story_of(report: Report, place: Place) -> Story:
    """The report on a study: question, answer, verdicts, claims and caveats, and then the panels."""
    return Story(
        title=f"Ablation: {place.group}",
        description=report.study.question,
        blocks=(*_words(report), *_panels(report, place)),
    )


def _words(report: Report) -> Iterator[Block]:
    yield Callout(text=f"{SOURCE} {_state(report)}")
    if report.study.question:
        yield Heading(text="Question")
        yield Text(markdown=paragraph(report.study.question))
    yield Heading(text="Answer")
    yield Text(markdown=paragraph(answer(report)))
    for block in (*main_effect_blocks(report), *claim_blocks(report)):
        title = block.removeprefix("## ")
        yield Heading(text=title) if title != block else Text(markdown=block)
    if report.notes:
        yield Heading(text="Caveats")
        yield Text(markdown=bullets(report.notes))


def _panels(report: Report, place: Place) -> Iterator[Block]:
    metrics = metrics_of(report)
    final = metrics.finals[0] if metrics.finals else None
    about = notes_on_averages(report)
    several = len(report.study.factors) > 1
    for factor in report.study.factors:
        yield Heading(text=f"By {factor.name}")
        if about:
            yield Text(markdown=escape(about))
        panels = factor_plots(report, factor, metrics.epochs, final=final)
        yield Grid(runs=factor_runs(report, place, factor), panels=tuple(panels))
    if several:
        yield Heading(text="Cells")
        runs = training_runs(report, place)
        yield Grid(runs=runs, panels=tuple(cell_plots(report, metrics.epochs, final=final)))
    if metrics.mechanisms:
        yield Heading(text="Mechanisms")
        panels = mechanism_plots(report, metrics.mechanisms)
        yield Grid(runs=training_runs(report, place), panels=tuple(panels))
    if metrics.inside:
        for factor in report.study.factors:
            yield Heading(text=f"Inside the network, by {factor.name}")
            yield Grid(
                runs=factor_runs(report, place, factor), panels=tuple(factor_plots(report, factor, metrics.inside))
            )
    yield Heading(text="Tables and report")
    yield Text(markdown="`ablate wandb push` writes these from the ledger.")
    yield Grid(runs=table_runs(place), panels=table_panels(report))
    if several and final is not None:
        yield Heading(text="Exploratory: parameter importance")
        yield Text(markdown=escape(_EXPLORATORY))
        yield Grid(runs=training_runs(report, place), panels=(Importance(metric=final),))


def _state(report: Report) -> str:
    counts = report.trials["status"].value_counts()
    total = counted(len(report.trials), "trial")
    return f"Written from {total}: {', '.join(f'{counts[status]} {status}' for status in sorted(counts.index))}."

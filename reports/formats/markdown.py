"""Markdown text of a report, readable raw and rendered. The same report gives the same text."""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import pandas as pd

from experiments.text import escape_controls
from reports.analysis.cells import MISSING
from reports.report import Report
from reports.wording.method import describe_method
from reports.wording.numbers import format_count

from .tables import (
    COUNTS,
    MARK,
    Table,
    describe_missing,
    name_cells,
    tabulate_cells,
    tabulate_contrasts,
    tabulate_interactions,
    tabulate_rates,
    tabulate_shares,
)

_MOST_LINES = 30  # of incomplete cells; the rest is counted


def to_markdown(report: Report) -> str:
    """Return the text of report.md."""
    return "\n\n".join(_write_blocks(report)) + "\n"


def escape(text: str) -> str:
    r"""Escape a text so that Markdown shows it unchanged, also in a table: no markup, column or line break.

    >>> print(escape("a|b <i> `c` *d* one_at_a_time <0.05\nend"))
    a\|b &lt;i> \`c\` \*d\* one_at_a_time <0.05\\nend
    """
    plain = escape_controls(text).replace("\\", "\\\\")
    plain = re.sub(r"&(?=[#\w])", "&amp;", plain)
    plain = re.sub(r"<(?=[\w/!?])(?!\d)", "&lt;", plain)
    plain = re.sub(r"([`*|~$#])", r"\\\1", plain)
    plain = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", plain)  # an underscore inside a word is no emphasis
    return plain.replace("](", "]\\(")


def escape_paragraph(text: str) -> str:
    r"""Escape a text at the beginning of a line, where more characters are markup.

    >>> print(escape_paragraph("1. not a list"), escape_paragraph("- nor this"))
    1\. not a list \- nor this
    """
    return re.sub(r"^(\d*)([>+\-=.)])", r"\1\\\2", escape(text).lstrip())


def draw_table(table: Table) -> str:
    """Draw a table, padded so that it is readable without being rendered."""
    rows = [tuple(escape(str(cell)) for cell in row) for row in (table.headers, *table.rows)]
    widths = [max(len("-:"), *map(len, column)) for column in zip(*rows, strict=True)]
    is_number = table.is_number
    rules = tuple("-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, is_number, strict=True))
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        )
        + " |"
        for row in (rows[0], rules, *rows[1:])
    ]
    return "\n".join(lines)


def _write_blocks(report: Report) -> Iterator[str]:
    study = report.study
    yield f"# {escape(study.name)}"
    if study.question:
        yield escape_paragraph(study.question)
    yield "## Answer"
    answers, notes = list(report.main_effects["sentence"]), list(report.notes)
    yield write_bullets(answers or notes[:1])  # without contrasts, the first note has the reason
    yield "## What was measured"
    lines = describe_method(study, len(report.cells))
    yield "\n".join(f"- **{subject}**: {escape(line)}" for subject, line in lines.items())
    if notes:
        yield "## Caveats"
        yield write_bullets(notes)
    yield from write_main_effects(report)
    yield from _write_simple_effects(report)
    yield from write_claims(report)
    yield from _write_interactions(report)
    yield from _write_shares(report)
    yield from _write_crossed(report)
    yield from _write_cells(report)
    yield from _write_rates(report)
    yield "---"
    yield _write_footer(report)


def write_main_effects(report: Report) -> Iterator[str]:
    """Yield a heading, an explanation and the table of verdicts; nothing without contrasts."""
    metric, unit = report.study.metric, report.study.unit
    main = report.main_effects
    if len(main):
        size = format_count(int(main["num_comparisons"].iloc[0]), "main effect")
        marked = f" {MARK}: {unit}s are left out." if main["num_seeds_left_out"].any() else ""
        corrected = (
            "" if unit == "seed" else " Intervals and p are corrected for the overlap of the folds' training sets."
        )
        yield "## Contrasts"
        yield (
            f"Level - reference in {escape(metric.name)}, paired by {unit}, averaged over the other factors. "
            f"{_begin_count(unit)} {unit}s.{marked}{corrected} p (Holm) is adjusted for {size}. d_z is the mean "
            "difference divided by the standard deviation of the differences. MDE is the true difference that is "
            "detected with 80 % power."
        )
        yield draw_table(_select_contrasts(report, main).drop_empty(["context"]))


def _write_simple_effects(report: Report) -> Iterator[str]:
    simple = report.simple_effects
    if len(simple):
        size = format_count(int(simple["num_comparisons"].iloc[0]), "simple effect")
        yield "## Simple effects"
        yield f"Contrasts in one context: the other factors have fixed levels. p (Holm) is adjusted for {size}."
        yield draw_table(_select_contrasts(report, simple))


def _select_contrasts(report: Report, contrasts: pd.DataFrame) -> Table:
    count = COUNTS[report.study.unit]
    numbers = [count, "difference", "95 % interval", "p", "p (Holm)", "d_z", "MDE"]
    table = tabulate_contrasts(contrasts, report.study.metric, report.study.unit)
    return table.select(["contrast", "context", *numbers, "verdict"])


def write_claims(report: Report) -> Iterator[str]:
    """Yield a heading, the size of the family, and each claim with its finding; nothing without claims."""
    claims = report.claims
    if not len(claims):
        return
    yield "## Claims"
    size = int(claims["num_comparisons"].iloc[0])
    yield f"Claims of the study file. p is adjusted for {format_count(size, 'claim')}." if size else "Not tested."
    yield "\n".join(
        f"- **{finding}**: {escape(words)}" for finding, words in zip(claims["finding"], claims["answer"], strict=True)
    )


def _write_interactions(report: Report) -> Iterator[str]:
    interactions, unit = report.interactions, report.study.unit
    if len(interactions):
        size = format_count(int(interactions["num_comparisons"].iloc[0]), "interaction")
        yield "## Interactions"
        yield (
            f"Difference of differences in {escape(report.study.metric.name)}, paired by {unit}: the contrast under "
            f"the first level of the other factor minus the contrast under the second. p (Holm) is adjusted for {size}."
        )
        table = tabulate_interactions(interactions, report.study.metric, unit)
        numbers = [COUNTS[unit], "difference", "95 % interval", "p (Holm)", "MDE"]
        yield draw_table(table.select(["contrast", "under", *numbers, "verdict"]))


def _write_shares(report: Report) -> Iterator[str]:
    if len(report.variance_shares):
        yield "## Shares of variance"
        yield (
            f"Shares of the sum of squares of {escape(report.study.metric.name)} over all trials, from the model y ~ "
            f"(factors)² + {report.study.unit}. The residual contains higher interactions and noise. Shares depend on "
            "the levels that were chosen, and are no verdicts."
        )
        yield draw_table(
            tabulate_shares(report.variance_shares).select(["source", "share", "95 % interval", "df", "partial ω²"])
        )


def _write_crossed(report: Report) -> Iterator[str]:
    if len(report.seed_and_example_variance):
        yield "## Seeds and test examples"
        yield (
            "Differences in test accuracy, in percentage points. These intervals cover variation over seeds and over "
            "test examples, from the examples that each trial classified right; those above cover seeds only."
        )
        yield "\n".join(f"- {escape(sentence)}." for sentence in report.seed_and_example_variance["sentence"])


def _write_rates(report: Report) -> Iterator[str]:
    if report.outcome_rates["diverged"].any():
        yield "## Divergence"
        yield (
            "Trials that diverged, of those that finished or diverged, with 95 % Wilson intervals. Cells without "
            "diverged trials are left out."
        )
        yield draw_table(tabulate_rates(report.outcome_rates, report.cells))


def _write_cells(report: Report) -> Iterator[str]:
    unit = report.study.unit
    corrected = "" if unit == "seed" else ", and intervals are corrected for the overlap of the folds' training sets"
    yield "## Cells"
    yield (
        f"{escape(report.study.metric.name)} by cell. {_begin_count(unit)} the trials that finished with a value. "
        f"Mean, standard deviation and interval are over these trials{corrected}."
    )
    shown = [COUNTS[unit], "mean", "SD", "95 % interval", *MISSING]
    numbers = tabulate_cells(report.cells, unit).select(shown).drop_empty(["no value"])
    yield draw_table(name_cells(report.cells).join(numbers))
    missing = describe_missing(report.cells, _MOST_LINES)
    if missing:
        yield f"{MARK}: cells with missing trials"
        yield write_bullets(missing)


def _write_footer(report: Report) -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in ("pandas", "scipy"))
    kept = format_count(report.num_unplanned, "trial") if report.num_unplanned else "no trials"
    return (
        f"Computed with {versions}. The ledger has {kept} of earlier plans, which this report leaves out. Every "
        "number can be recomputed from trials.csv, contrasts.csv and curves.csv in the same folder."
    )


def _begin_count(unit: str) -> str:
    """Return the beginning of a sentence about the column of counts."""
    return f"{COUNTS[unit]} counts" if unit == "seed" else f"The column {COUNTS[unit]} counts"


def write_bullets(sentences: Iterable[str]) -> str:
    """Return escaped sentences as a list."""
    return "\n".join(f"- {escape_paragraph(sentence)}" for sentence in sentences)

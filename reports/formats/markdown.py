"""A report as Markdown that reads well raw and rendered. The same report gives the same text."""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import pandas as pd

from experiments.text import visible
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

_MOST_LINES = 30  # of incomplete cells, before the rest is only counted


def to_markdown(report: Report) -> str:
    """The text of report.md."""
    return "\n\n".join(_blocks(report)) + "\n"


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is, also inside a table: nothing in a name is markup, a column or a line break.

    >>> print(escape("a|b <i> `c` *d* one_at_a_time <0.05\nend"))
    a\|b &lt;i> \`c\` \*d\* one_at_a_time <0.05\\nend
    """
    plain = visible(text).replace("\\", "\\\\")
    plain = re.sub(r"&(?=[#\w])", "&amp;", plain)
    plain = re.sub(r"<(?=[\w/!?])(?!\d)", "&lt;", plain)
    plain = re.sub(r"([`*|~$#])", r"\\\1", plain)
    plain = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", plain)  # an underscore inside a word is no emphasis
    return plain.replace("](", "]\\(")


def paragraph(text: str) -> str:
    r"""Escaped text at the beginning of a line, where a few more characters have a meaning.

    >>> print(paragraph("1. not a list"), paragraph("- nor this"))
    1\. not a list \- nor this
    """
    return re.sub(r"^(\d*)([>+\-=.)])", r"\1\\\2", escape(text).lstrip())


def table_lines(table: Table) -> str:
    """A table, padded so that it can be read without being rendered."""
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


def _blocks(report: Report) -> Iterator[str]:
    study = report.study
    yield f"# {escape(study.name)}"
    if study.question:
        yield paragraph(study.question)
    yield "## Answer"
    answers, notes = list(report.main_effects["sentence"]), list(report.notes)
    yield bullets(answers or notes[:1])  # without contrasts, the first note says why
    yield "## What was measured"
    lines = describe_method(study, len(report.cells))
    yield "\n".join(f"- **{subject}**: {escape(line)}" for subject, line in lines.items())
    if notes:
        yield "## Caveats"
        yield bullets(notes)
    yield from main_effect_blocks(report)
    yield from _simple_effect_blocks(report)
    yield from claim_blocks(report)
    yield from _interaction_blocks(report)
    yield from _share_blocks(report)
    yield from _crossed_blocks(report)
    yield from _cell_blocks(report)
    yield from _rate_blocks(report)
    yield "---"
    yield _footer(report)


def main_effect_blocks(report: Report) -> Iterator[str]:
    """A heading, how to read the table, and the table of verdicts; nothing without contrasts."""
    metric, unit = report.study.metric, report.study.unit
    main = report.main_effects
    if len(main):
        size = format_count(int(main["num_comparisons"].iloc[0]), "main effect")
        marked = f" {MARK} marks {unit}s left out." if main["num_seeds_left_out"].any() else ""
        corrected = (
            "" if unit == "seed" else " Intervals and p are corrected for the training examples that folds share."
        )
        yield "## Contrasts"
        yield (
            f"Level - reference in {escape(metric.name)}, within each {unit}, mean over the other factors. "
            f"{_counts(unit)} {unit}s.{marked}{corrected} p (Holm) is adjusted for {size}. d_z is the mean difference "
            "over the standard deviation of the differences; MDE is the true difference that is found "
            "four times in five."
        )
        yield table_lines(_contrasts(report, main).drop_empty(["context"]))


def _simple_effect_blocks(report: Report) -> Iterator[str]:
    simple = report.simple_effects
    if len(simple):
        size = format_count(int(simple["num_comparisons"].iloc[0]), "simple effect")
        yield "## Simple effects"
        yield f"The same in one context: the other factors have the levels named. p (Holm) is adjusted for {size}."
        yield table_lines(_contrasts(report, simple))


def _contrasts(report: Report, contrasts: pd.DataFrame) -> Table:
    count = COUNTS[report.study.unit]
    numbers = [count, "difference", "95 % interval", "p", "p (Holm)", "d_z", "MDE"]
    table = tabulate_contrasts(contrasts, report.study.metric, report.study.unit)
    return table.select(["contrast", "context", *numbers, "verdict"])


def claim_blocks(report: Report) -> Iterator[str]:
    """A heading, what was adjusted, and each claim with its finding; nothing without claims."""
    claims = report.claims
    if not len(claims):
        return
    yield "## Claims"
    size = int(claims["num_comparisons"].iloc[0])
    yield f"What the study file claims. p is adjusted for {format_count(size, 'claim')}." if size else "Not tested."
    yield "\n".join(
        f"- **{finding}**: {escape(words)}" for finding, words in zip(claims["finding"], claims["answer"], strict=True)
    )


def _interaction_blocks(report: Report) -> Iterator[str]:
    interactions, unit = report.interactions, report.study.unit
    if len(interactions):
        size = format_count(int(interactions["num_comparisons"].iloc[0]), "interaction")
        yield "## Interactions"
        yield (
            f"How much more the first contrast is, in {escape(report.study.metric.name)}, under the first of the two "
            f"levels than under the second, within each {unit}. p (Holm) is adjusted for {size}."
        )
        table = tabulate_interactions(interactions, report.study.metric, unit)
        numbers = [COUNTS[unit], "difference", "95 % interval", "p (Holm)", "MDE"]
        yield table_lines(table.select(["contrast", "under", *numbers, "verdict"]))


def _share_blocks(report: Report) -> Iterator[str]:
    if len(report.variance_shares):
        yield "## Shares of variance"
        yield (
            f"Of the sum of squares of {escape(report.study.metric.name)} over all trials, by y ~ (factors)² + "
            f"{report.study.unit}; the residual holds higher interactions and chance. Shares depend on the levels that "
            "were chosen, and are no verdicts."
        )
        yield table_lines(
            tabulate_shares(report.variance_shares).select(["source", "share", "95 % interval", "df", "partial ω²"])
        )


def _crossed_blocks(report: Report) -> Iterator[str]:
    if len(report.seed_and_example_variance):
        yield "## Seeds and test examples"
        yield (
            "Differences in test accuracy, in percentage points, over other seeds and other test examples together, "
            "from which examples each trial had right. The intervals above are over seeds alone."
        )
        yield "\n".join(f"- {escape(sentence)}." for sentence in report.seed_and_example_variance["sentence"])


def _rate_blocks(report: Report) -> Iterator[str]:
    if report.outcome_rates["diverged"].any():
        yield "## Divergence"
        yield (
            "Diverged of those that trained to an end or diverged, with 95 % Wilson intervals; cells without any are "
            "left out."
        )
        yield table_lines(tabulate_rates(report.outcome_rates, report.cells))


def _cell_blocks(report: Report) -> Iterator[str]:
    unit = report.study.unit
    corrected = "" if unit == "seed" else ", the interval corrected for the training examples that folds share"
    yield "## Cells"
    yield (
        f"{escape(report.study.metric.name)} by cell. {_counts(unit)} the trials that finished with a value; mean, "
        f"standard deviation and interval are over these{corrected}."
    )
    shown = [COUNTS[unit], "mean", "SD", "95 % interval", *MISSING]
    numbers = tabulate_cells(report.cells, unit).select(shown).drop_empty(["no value"])
    yield table_lines(name_cells(report.cells).join(numbers))
    missing = describe_missing(report.cells, _MOST_LINES)
    if missing:
        yield f"{MARK} marks what is incomplete:"
        yield bullets(missing)


def _footer(report: Report) -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in ("pandas", "scipy"))
    kept = format_count(report.num_unplanned, "trial") if report.num_unplanned else "no trials"
    return (
        f"Computed with {versions}. The ledger keeps {kept} of earlier plans outside this report. Every number can be "
        "recomputed from trials.csv, contrasts.csv and curves.csv beside this file."
    )


def _counts(unit: str) -> str:
    """The beginning of a sentence on the column of counts."""
    return f"{COUNTS[unit]} counts" if unit == "seed" else f"The column {COUNTS[unit]} counts"


def bullets(sentences: Iterable[str]) -> str:
    """Escaped sentences as a list."""
    return "\n".join(f"- {paragraph(sentence)}" for sentence in sentences)

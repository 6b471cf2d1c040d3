"""LaTeX tables of the verdicts and the cells, for papers that load booktabs and siunitx."""

import re

import pandas as pd

from experiments.text import escape_controls
from reports.report import Report
from reports.wording.numbers import ABSENT, format_count
from reports.wording.sensitivity import ALPHA

from .tables import COUNTS, Table, level_columns, tabulate_cells, tabulate_contrasts

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{char: rf"\{char}" for char in "_%&#$"},
    "−": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
}


def to_latex(report: Report) -> str:
    """Return the text of tables.tex: the main effects, if there are any, and the cells."""
    tables = [_contrasts(report)] if len(report.main_effects) else []
    heading = "% Needs \\usepackage{booktabs,siunitx} and, for \\textquotedbl, \\usepackage[T1]{fontenc}.\n"
    return heading + "\n".join([*tables, _cells(report)])


def escape(text: str) -> str:
    r"""Escape a text so that LaTeX prints it unchanged, on one line.

    >>> print(escape("50%_a & {b} ~ ^ \\ $x$ #1"))
    50\%\_a \& \{b\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$x\$ \#1
    """
    return "".join(_SPECIAL.get(char, char) for char in escape_controls(text))


def _contrasts(report: Report) -> str:
    study, effects = report.study, report.main_effects
    columns = ["difference", "low", "high", "p (Holm)", COUNTS[study.unit]]
    table = tabulate_contrasts(effects, study.metric, study.unit)
    family = int(effects["num_comparisons"].iloc[0])
    margin = (
        ""
        if study.metric.margin is None
        else f" Equivalent: inside $\\pm{study.metric.margin}$ (TOST, 90 \\% interval)."
    )
    return _draw(
        table.select(["factor", "level − reference", *columns, "verdict"]),
        label="contrasts",
        caption=(
            f"{escape(study.metric.name)}: difference to the reference within each {study.unit}, with the ends of its "
            f"95 \\% paired $t$ interval ({_describe_sample(report)}). $p$ is adjusted by Holm's method for "
            f"{format_count(family, 'main effect')}; a level improves or harms if it is below {ALPHA}.{margin}"
        ),
    )


def _cells(report: Report) -> str:
    study, cells = report.study, report.cells
    numbers = tabulate_cells(cells, study.unit).select([COUNTS[study.unit], "mean", "SD", "low", "high"])
    return _draw(
        level_columns(cells).join(numbers),
        label="cells",
        caption=(
            f"{escape(study.metric.name)} by cell: mean and standard deviation over {study.unit}s, and the ends of the "
            f"95 \\% $t$ interval of the mean ({_describe_sample(report)}). Intervals of single cells are not adjusted."
        ),
    )


def _draw(table: Table, *, label: str, caption: str) -> str:
    rows = [
        tuple(
            _number(cell.text) if is_number else escape(str(cell))
            for cell, is_number in zip(row, table.is_number, strict=True)
        )
        for row in table.rows
    ]
    titles = [
        f"{{{escape(header)}}}" if is_number else escape(header)
        for header, is_number in zip(table.headers, table.is_number, strict=True)
    ]
    columns = [
        _column([row[index] for row in rows]) if is_number else "l" for index, is_number in enumerate(table.is_number)
    ]
    lines = ["{}" + " & ".join(row) + r" \\" for row in rows]  # a row that begins with [ or * would be an option of \\
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{caption}}}",
            f"\\label{{tab:{label}}}",
            f"\\begin{{tabular}}{{{''.join(columns)}}}",
            r"\toprule",
            " & ".join(titles) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _describe_sample(report: Report) -> str:
    study = report.study
    counts: pd.Series[int] = report.cells["n"]
    is_complete = counts.eq(len(study.seeds)).all()
    text = format_count(len(study.seeds), study.unit) + ("" if is_complete else " planned, fewer if trials are missing")
    return text if study.folds is None else f"{text}; corrected for the overlap of training sets"


def _number(text: str) -> str:
    """Return a number as siunitx reads it, and protect other text from siunitx."""
    text = text.partition("/")[0]  # the count of "4/5 (!)", which the caption explains
    if re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", text):
        return text
    if text.startswith("<"):
        return f"{{$<{text[1:]}$}}"
    return f"{{{'--' if text == ABSENT else escape(text)}}}"


def _column(cells: list[str]) -> str:
    """Return an S column as wide as its widest number."""
    numbers = [match for cell in cells if (match := re.fullmatch(r"([+-]?)(\d+)(?:\.(\d+))?(?:e.*)?", cell))]
    sign = "+" if any(match[1] for match in numbers) else ""
    whole = max((len(match[2]) for match in numbers), default=1)
    decimals = max((len(match[3] or "") for match in numbers), default=0)
    exponent = "e-2" if any("e" in match[0] for match in numbers) else ""
    return f"S[table-format={sign}{whole}.{decimals}{exponent}]"

"""The verdict table and the cells as LaTeX, to be input in a paper that loads booktabs and siunitx."""

import math
import re

import pandas as pd

from experiments.text import visible
from reports.report import Report
from reports.wording.numbers import ABSENT, counted, number, p_text
from reports.wording.sensitivity import ALPHA
from reports.wording.verdicts import BELOW_MARGIN, difference_text

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
    """The text of tables.tex: the main effects, where there are any, and the cells."""
    tables = [_contrasts(report)] if len(report.main_effects) else []
    heading = "% Needs \\usepackage{booktabs,siunitx} and, for \\textquotedbl, \\usepackage[T1]{fontenc}.\n"
    return heading + "\n".join([*tables, _cells(report)])


def escape(text: str) -> str:
    r"""Text that LaTeX sets as it is, on one line.

    >>> print(escape("50%_a & {b} ~ ^ \\ $x$ #1"))
    50\%\_a \& \{b\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$x\$ \#1
    """
    return "".join(_SPECIAL.get(char, char) for char in visible(text))


def _contrasts(report: Report) -> str:
    study, effects = report.study, report.main_effects
    rows = []
    for row in effects.to_dict("records"):
        mean, low, high = difference_text(row["mean_difference"], row["ci_low"], row["ci_high"], study.metric.margin)
        p = p_text(row["p_adjusted"])
        verdict = f"{row['verdict']}, {BELOW_MARGIN}" if row["below_margin"] else row["verdict"]
        names = (escape(str(row["factor"])), escape(f"{row['level']} − {row['reference']}"))
        bound = f"{{$<{p[1:]}$}}" if p.startswith("<") else _number(p)
        rows.append((*names, *map(_number, (mean, low, high)), bound, str(row["n"]), escape(verdict)))
    family = int(effects["num_comparisons"].iloc[0])
    margin = (
        ""
        if study.metric.margin is None
        else f" Equivalent: inside $\\pm{study.metric.margin}$ (TOST, 90 \\% interval)."
    )
    return _table(
        label="contrasts",
        columns=["l", "l", *(_column(rows, place) for place in range(2, 7)), "l"],
        headers=[
            "factor",
            "level \\ensuremath{-} reference",
            "difference",
            "low",
            "high",
            "$p$",
            f"{study.unit}s",
            "verdict",
        ],
        rows=rows,
        caption=(
            f"{escape(study.metric.name)}: difference to the reference within each {study.unit}, with the ends of its "
            f"95 \\% paired $t$ interval ({_design(report)}). $p$ is adjusted by Holm's method for "
            f"{counted(family, 'main effect')}; a level improves or harms where it is below {ALPHA}.{margin}"
        ),
    )


def _cells(report: Report) -> str:
    study, cells = report.study, report.cells
    rows = []
    for levels, row in zip(cells.index, cells.to_dict("records"), strict=True):
        half = (row["ci_high"] - row["ci_low"]) / 2
        decimals = 4 if math.isnan(half) or half <= 0 else min(max(1 - math.floor(math.log10(half)), 0), 9)
        numbers = [_number(number(row[name], decimals)) for name in ("mean", "sd", "ci_low", "ci_high")]
        rows.append((*(escape(str(level)) for level in levels), str(row["n"]), *numbers))
    num_factors = len(study.factors)
    return _table(
        label="cells",
        columns=["l"] * num_factors + [_column(rows, place) for place in range(num_factors, num_factors + 5)],
        headers=[*(escape(factor.name) for factor in study.factors), f"{study.unit}s", "mean", "SD", "low", "high"],
        rows=rows,
        caption=(
            f"{escape(study.metric.name)} by cell: mean and standard deviation over {study.unit}s, and the ends of the "
            f"95 \\% $t$ interval of the mean ({_design(report)}). Intervals of single cells are not adjusted."
        ),
    )


def _table(*, label: str, columns: list[str], headers: list[str], rows: list[tuple[str, ...]], caption: str) -> str:
    titles = [title if column == "l" else f"{{{title}}}" for title, column in zip(headers, columns, strict=True)]
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


def _design(report: Report) -> str:
    study = report.study
    counts: pd.Series[int] = report.cells["n"]
    is_complete = counts.eq(len(study.seeds)).all()
    text = counted(len(study.seeds), study.unit) + ("" if is_complete else " planned, fewer where trials are missing")
    return text if study.folds is None else f"{text}; corrected for the training examples that folds share"


def _number(text: str) -> str:
    """A number as siunitx reads it; what is none is protected from it."""
    return (
        text
        if re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", text)
        else f"{{{escape(text) if text != ABSENT else '--'}}}"
    )


def _column(rows: list[tuple[str, ...]], place: int) -> str:
    """An S column as wide as its widest number."""
    found = [match for row in rows if (match := re.fullmatch(r"([+-]?)(\d+)(?:\.(\d+))?(?:e.*)?", row[place]))]
    sign = "+" if any(match[1] for match in found) else ""
    whole = max((len(match[2]) for match in found), default=1)
    decimals = max((len(match[3] or "") for match in found), default=0)
    exponent = "e-2" if any("e" in match[0] for match in found) else ""
    return f"S[table-format={sign}{whole}.{decimals}{exponent}]"

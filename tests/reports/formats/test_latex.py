import re

import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor
from report_pages import HOSTILE, full_report, hostile_report, measure

from experiments.trials.trial import TrialStatus
from reports import build_report, to_latex
from reports.formats.latex import escape


def tables_of(text):
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, flags=re.DOTALL)


def bare(text):
    r"""The text less escaped characters, so that braces, & and $ left are those that LaTeX acts on."""
    return re.sub(r"\\[&%$#_{}]", "", text)


@pytest.mark.parametrize("make", [full_report, hostile_report])
def test_braces_match_and_every_row_has_every_column(make, tmp_path):
    text = to_latex(make(tmp_path))
    tables = tables_of(text)
    assert len(tables) == 2
    for table in map(bare, tables):
        depth = 0
        for char in table:
            depth += {"{": 1, "}": -1}.get(char, 0)
            assert depth >= 0
        assert depth == 0
        assert table.count("$") % 2 == 0
        columns = re.sub(r"\[[^\]]*\]", "", re.search(r"\\begin\{tabular\}\{([^}]*)\}", table)[1])
        body = table.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) >= 3
        assert {line.count("&") + 1 for line in rows} == {len(columns)}


def test_every_number_fits_the_format_of_its_column(tmp_path):
    for table in tables_of(to_latex(full_report(tmp_path))):
        formats = re.findall(r"S\[table-format=([+-]?)(\d+)\.(\d+)\]|(l)", re.search(r"tabular\}\{(.*)\}", table)[1])
        for line in table.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines():
            for cell, (sign, whole, decimals, is_text) in zip(
                line.removesuffix(r" \\").split(" & "), formats, strict=True
            ):
                if is_text or cell.startswith("{"):
                    continue
                found = re.fullmatch(r"([+-]?)(\d+)(?:\.(\d+))?", cell)
                assert found, cell
                assert len(found[2]) <= int(whole)
                assert len(found[3] or "") <= int(decimals)
                assert sign or not found[1]


def test_special_characters_are_escaped(tmp_path):
    text = to_latex(hostile_report(tmp_path))
    for name in HOSTILE:
        assert escape(name) in text
        assert name not in text
    assert escape("a\nb") == r"a\textbackslash{}nb"


def test_the_captions_explain_the_numbers(tmp_path):
    contrasts, cells = tables_of(to_latex(full_report(tmp_path)))
    assert "95 \\% paired $t$ interval (5 seeds planned, fewer if trials are missing)" in contrasts
    assert "$p$ is adjusted by Holm's method for 3 main effects" in contrasts
    assert "$\\pm0.01$ (TOST, 90 \\% interval)" in contrasts
    assert "mean and standard deviation over seeds" in cells


def test_folds_are_named_and_one_seed_gives_only_cells(tmp_path):
    text = to_latex(build_report(make_ledger(tmp_path / "folds", make_study(folds=5), measure)))
    assert "(5 folds planned, fewer if trials are missing; corrected for the overlap of training sets)" in text
    text = to_latex(build_report(make_ledger(tmp_path / "one", one_factor(seeds=1), lambda *_: make_result(0.5))))
    assert len(tables_of(text)) == 1
    assert "{--}" in text  # no interval


def test_a_level_without_values_has_dashes(tmp_path):
    study = one_factor()
    report = build_report(
        make_ledger(
            tmp_path,
            study,
            lambda each, _: make_result(status=TrialStatus.FAILED) if each["x"] == "b" else make_result(0.5),
        )
    )
    assert "b \\ensuremath{-} a & {--} & {--} & {--} & {--} & 0 & undecided" in to_latex(report)


def test_names_beginning_with_brackets_or_stars_are_not_latex_options(tmp_path):
    report = build_report(make_ledger(tmp_path, one_factor(["[32]", "*x", "[256]"]), lambda *_: make_result(0.5)))
    rows = [line for line in to_latex(report).splitlines() if line.endswith("\\\\") and "&" in line]
    assert [row for row in rows if row.lstrip().startswith(("[", "*"))] == []

import io
import math
import re

import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor
from rich.console import Console

from experiments.trials.trial import TrialStatus
from reports import build_report, print_report, write_report


def measure(levels, seed):
    if levels == {"activation": "relu", "init": "he"} and seed == 3:
        return make_result(status=TrialStatus.FAILED)
    bonus = {"relu": 0.06, "tanh": 0.05}.get(levels.get("activation"), 0.0)
    return make_result(0.9 + bonus + math.sin(seed * 3 + sum(map(ord, str(levels)))) / 300)


@pytest.fixture
def report(tmp_path):
    claims = {"c": {"factor": "activation", "better": "relu", "than": "sigmoid", "says": "ReLU trains better."}}
    return write_report(make_ledger(tmp_path, make_study(claims=claims), measure))


def printed(report, **options):
    console = Console(file=io.StringIO(), **options)
    print_report(report, console)
    return console.file.getvalue()


def test_eighty_columns_are_enough(report):
    text = printed(report, width=80)
    *lines, path = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert path.startswith("Written to ")
    assert "improves" in text
    assert re.search(r"4/5 \(!\) +\+0\.06\d+ +\+0\.0\d+ to \+0\.0\d+ +<?0\.\d+ +improves", text)
    assert "supported: ReLU trains better (c). activation: relu improves test/acc" in text
    assert "(!) activation=relu, init=he: 4 of 5 trials have a value; 1 failed" in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_numbers_are_never_cut(report, width):
    text = printed(report, width=width)
    assert "…" not in text
    assert len(re.findall(r"[+-]0\.\d+ to [+-]0\.\d+ +<?\d\.\d+", text)) == 3
    assert len(re.findall(r"0\.\d+ +0\.\d+ +0\.\d+ to 0\.\d+", text)) == 6


def test_output_to_a_file_is_plain_text(report):
    assert "\x1b" not in printed(report, width=80)


def test_verdicts_are_coloured_on_a_terminal_unless_no_color_is_set(report, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = printed(report, width=80, force_terminal=True, color_system="standard")
    assert "\x1b[32mimproves" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[3\d", printed(report, width=80, force_terminal=True, color_system="standard"))


def test_files_are_named_only_if_they_were_written(report, tmp_path):
    assert f"Written to {tmp_path / 'report'}" in printed(report, width=20)
    assert "Written to" not in printed(build_report(tmp_path), width=200)


def test_names_are_neither_markup_nor_control_sequences(tmp_path):
    study = one_factor(["[red]a[/red]", "\x1b[31mb", "c\nd"], question="Is [bold]this[/bold] markup?")
    text = printed(build_report(make_ledger(tmp_path, study, measure)), width=200)
    assert "[red]a[/red]" in text
    assert "\\x1b[31mb" in text
    assert "c\\nd" in text
    assert "\x1b" not in text
    assert "Is [bold]this[/bold] markup?" in text


def test_many_cells_are_cut_with_a_count(tmp_path):
    study = one_factor([f"level{number}" for number in range(50)], seeds=2)
    text = printed(build_report(make_ledger(tmp_path, study, measure)), width=100)
    assert "x=level39" in text
    assert "x=level40" not in text
    assert "and 10 cells more in report.md" in text


def test_one_seed_has_a_note_that_explains_missing_verdicts(tmp_path):
    text = printed(build_report(make_ledger(tmp_path, one_factor(seeds=1), measure)), width=100)
    assert "(!) The study has one seed, so there are no contrasts" in text
    assert "p (Holm)" not in text


def test_counts_of_folds_are_called_folds(tmp_path):
    text = printed(build_report(make_ledger(tmp_path, make_study(folds=5, seeds=4), measure)), width=300)
    assert "share 75 % of their examples, so folds are not independent. Intervals and p are corrected for this." in text
    assert re.search(r"contrast +folds +difference", text)
    assert re.search(r"cell +folds +mean", text)
    assert "(!) Of the 5 folds of the cross-validation, 1 is not in the plan (seed 4)" in text
    one = printed(build_report(make_ledger(tmp_path / "one", one_factor(folds=5, seeds=1), measure)), width=300)
    assert "Intervals and p" not in one

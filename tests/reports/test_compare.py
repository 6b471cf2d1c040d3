import io

import pytest
from make_ledger import make_ledger, make_result, one_factor
from rich.console import Console

from ablate.commands import main
from experiments.errors import InputError
from reports import build_report, compare_reports, print_changes

CLAIMS = {"c": {"factor": "x", "better": "b", "than": "a", "says": "b is better."}}


def folder(directory, shift, **changes):
    """Return a trial in which b is better than a by `shift`, with little noise, and c hardly differs."""
    study = one_factor(["a", "b", "c"], **({"claims": CLAIMS} | changes))
    noise = {"a": [0, 1, 2, 3, 4], "b": [1, 0, 3, 2, 4], "c": [2, 0, 1, 4, 3]}
    return make_ledger(
        directory,
        study,
        lambda levels, seed: make_result(0.9 + noise[levels["x"]][seed] / 1000 + shift * (levels["x"] == "b")),
    )


def printed(changes, names=("before", "after")):
    stream = io.StringIO()
    print_changes(changes, names, Console(file=stream, width=120), None)
    return stream.getvalue()


def test_a_changed_verdict_is_shown_with_both_intervals(tmp_path):
    one = build_report(folder(tmp_path / "one", 0.0))
    other = build_report(folder(tmp_path / "other", 0.05, base={"trainer": {"max_epochs": 9}}))
    changes = compare_reports(one, other)
    assert changes.contrasts["changed"].tolist() == [True, False]
    assert changes.claims[["finding_before", "finding_after"]].to_numpy().tolist() == [["undecided", "supported"]]
    text = printed(changes)
    assert "1 of 2 verdicts changed" in text
    assert "x: b - a: undecided → improves" in text
    assert "  before 0.0000 (95 % confidence interval -0.0012 to +0.0012), n = 5" in text
    assert "  after  +0.0500 (95 % confidence interval +0.0488 to +0.0512), n = 5" in text
    assert "1 of 1 claim changed\nc: undecided → supported" in text
    assert "The plans differ:" in text
    assert "  base.trainer.max_epochs: 9 is added" in text


def test_a_run_against_itself_changes_nothing(tmp_path):
    report = build_report(folder(tmp_path, 0.05))
    text = printed(compare_reports(report, report))
    assert "0 of 2 verdicts changed" in text
    assert "The plans are identical." in text


def test_contrasts_of_only_one_run_are_counted(tmp_path):
    one = build_report(folder(tmp_path / "one", 0.0))
    few = one_factor(["a", "b"])
    other = build_report(make_ledger(tmp_path / "other", few, lambda each, seed: make_result(0.5 + seed / 9)))
    text = printed(compare_reports(one, other))
    assert "Only in before: 1 contrast" in text
    assert "Only in after" not in text


def test_studies_without_a_common_contrast_cannot_be_compared(tmp_path):
    one = build_report(folder(tmp_path / "one", 0.0))
    other = build_report(folder(tmp_path / "other", 0.0, seeds=1))
    with pytest.raises(InputError) as caught:
        compare_reports(one, other)
    assert str(caught.value) == (
        "activations and activations have no contrast in common: one has x (reference a), the metric test/acc, 5 "
        "seeds; one has x (reference a), the metric test/acc, 1 seed. `ablate report A B` compares two runs of one "
        "study"
    )


def test_the_command_compares_without_writing(tmp_path, capsys):
    paths = [str(folder(tmp_path / "one", 0.0)), str(folder(tmp_path / "other", 0.05))]
    assert main(["report", *paths]) == 0
    assert "undecided → improves" in capsys.readouterr().out
    assert not (tmp_path / "one" / "report").exists()
    assert main(["report", paths[0], str(tmp_path / "nothing")]) == 2

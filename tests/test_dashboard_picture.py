"""Tests of the picture of a workspace in the documentation, drawn from the output of the command."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from make_ledger import make_ledger, make_study

from experiments.trials.trial import Result, TrialStatus
from reports import build_report
from reports.wandb import resolve_destination
from reports.wandb.dashboard.build import build_dashboard, to_json

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docs" / "make_dashboard_picture.py"


def measure(levels, seed):
    gain = len(levels["activation"]) / 20 + seed / 50
    epochs = tuple({"val/acc": gain + epoch / 10, "val/loss": 1 - epoch / 10} for epoch in range(3))
    metrics = {"test/acc": gain}
    return Result(status=TrialStatus.FINISHED, metrics=metrics, epochs=epochs, seconds=1.0, num_parameters=10)


def test_the_picture_shows_every_open_panel_and_is_deterministic(tmp_path):
    directory = make_ledger(tmp_path / "study", make_study(), measure)
    svg, again = (runpy.run_path(str(SCRIPT))["picture_of"](directory) for _ in range(2))
    assert again == svg
    report = build_report(directory)
    content = json.loads(to_json(build_dashboard(report, resolve_destination(directory, report.study.name))))
    sections = content["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    for section in sections:
        assert f"{section['name']}</text>" in svg
        for panel in section["panels"] if section["isOpen"] else []:
            title = panel["config"].get("chartTitle", "Does ReLU train better than sigmoid?: ")
            assert svg.count(f">{title.split(': ')[0]}</text>") == 1
    assert "not a screenshot" in svg


def test_the_picture_in_the_documentation_is_current_and_self_contained():
    svg = (ROOT / "docs" / "dashboard.svg").read_text(encoding="utf-8")
    assert "not a screenshot" in svg
    assert "Ablation: quickstart</text>" in svg
    assert len(svg.encode()) < 100_000
    addresses = {part.split('"')[0] for part in svg.split("http")[1:]}
    assert addresses == {"://www.w3.org/2000/svg", "://www.w3.org/1999/xlink"}  # names of its language


@pytest.mark.slow
def test_another_process_draws_the_same_picture(tmp_path):
    directory = make_ledger(tmp_path / "study", make_study(), measure)
    code = f"import runpy, pathlib; draw = runpy.run_path({str(SCRIPT)!r})['picture_of']; "
    other = subprocess.run(
        [sys.executable, "-c", code + f"print(draw(pathlib.Path({str(directory)!r})), end='')"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "1"},
    )
    assert other.stdout == runpy.run_path(str(SCRIPT))["picture_of"](directory)

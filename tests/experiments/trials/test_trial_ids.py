"""Ids of all shipped trials, which are those of 2026-11-30, so that trained trials stay valid."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from experiments import load_study
from experiments.planning.plan import plan_trials

ROOT = Path(__file__).parents[3]
PINNED = json.loads(Path(__file__).with_name("trial_ids.json").read_text(encoding="utf-8"))

PLAN = """
import json, sys
from experiments import load_study
from experiments.planning.plan import plan_trials

for name in sys.argv[1:]:
    cells = {}
    for trial in plan_trials(load_study(name)):
        cells.setdefault(", ".join(f"{factor}={level}" for factor, level in trial.levels.items()), []).append(
            trial.trial_id
        )
    print(json.dumps([name, cells]))
"""


@pytest.fixture(autouse=True)
def pinned_versions():
    """Skip with other versions, whose Trainer and optimizers have other defaults, which are part of the ids."""
    found = {name: version(name) for name in PINNED["versions"]}
    if found != PINNED["versions"]:
        pytest.skip(f"ids are pinned for {PINNED['versions']}; installed are {found}")


def ids_of(trials):
    """Return trial ids by cell, seed by seed."""
    cells = {}
    for trial in trials:
        name = ", ".join(f"{factor}={level}" for factor, level in trial.levels.items())
        cells.setdefault(name, []).append(trial.trial_id)
    return cells


def planned(names):
    """Return cells and trial ids, study by study, planned in a new process as the command does."""
    found = subprocess.run(
        [sys.executable, "-c", PLAN, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr
    return dict(json.loads(line) for line in found.stdout.splitlines())


@pytest.mark.parametrize("name", ["quickstart", "examples/width.yaml", "examples/own_module.yaml"])
def test_ids_of_studies_without_download(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert ids_of(plan_trials(load_study(name))) == PINNED["studies"][name]


@pytest.mark.slow
def test_ids_of_all_shipped_studies_and_examples(mnist_folder):
    assert planned(PINNED["studies"]) == PINNED["studies"]


def test_every_shipped_study_and_example_is_pinned():
    shipped = {path.stem for path in (ROOT / "experiments" / "studies").glob("*.yaml")}
    examples = {f"examples/{path.name}" for path in (ROOT / "examples").glob("*.yaml")}
    assert set(PINNED["studies"]) == shipped | examples

"""Studies that measure mechanisms, from the file to the ledger."""

import sys

import pytest
import yaml
from small_study import small_study

from experiments import Ledger, parse_study, run
from experiments.cli import main
from experiments.mechanism_options import is_mechanism


def ledger_of(directory):
    return Ledger(directory / "ledger.sqlite", writable=False)


def trials_of(directory):
    with ledger_of(directory) as ledger:
        return [ledger.trial(row["trial_id"]) for row in ledger.trials()]


def study(**changes):
    content = small_study(
        **{"mechanisms": {"measure": ["gradients", "dead", "weights", "gap"], "examples": 64}} | changes
    )
    content["base"]["model"]["init_args"]["hidden"] = [8, 8]
    return content


def test_mechanisms_are_ordinary_metrics_that_may_decide_a_study(tmp_path):
    metric = {"name": "mechanism/weight_gradient_ratio", "goal": "max"}
    outcome = run(parse_study(study(metric=metric)), tmp_path / "s", workers=1)
    assert outcome.counts["finished"] == 4
    for trial in trials_of(tmp_path / "s"):
        assert trial["backend"] == "fused"
        assert trial["metrics"]["mechanism/weight_gradient_ratio"] > 0
        assert ("mechanism/dead/activation1" in trial["metrics"]) == (trial["levels"]["activation"] == "relu")


def test_a_single_trial_by_itself_measures_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # the command adds its folder
    content = study()
    content["base"]["trainer"]["precision"] = "64-true"
    run(parse_study(content, name="one"), tmp_path / "all", workers=1)
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(content))
    main(["trial", str(tmp_path / "one.yaml"), "activation=relu,seed=1", "--out", str(tmp_path / "by_itself")])
    ends = [trial for trial in trials_of(tmp_path / "by_itself") if trial["status"] == "finished"]
    (alone,) = ends
    (fused,) = [trial for trial in trials_of(tmp_path / "all") if trial["trial_id"] == alone["trial_id"]]
    assert alone["metrics"] == pytest.approx(fused["metrics"], rel=1e-9, abs=1e-9)


def test_several_devices_measure_and_train_as_without(tmp_path):
    found = {}
    for name, callbacks in (("off", None), ("on", [{"class_path": "experiments.mechanisms.Mechanisms"}])):
        base = {
            "model": {"class_path": "ranked_module.Ranked"},
            "data": {"class_path": "ranked_module.Points"},
            "trainer": {"max_epochs": 2, "accelerator": "cpu", "devices": 2, "strategy": "ddp", "callbacks": callbacks},
        }
        factors = {"lr": {"key": "model.init_args.lr", "levels": [0.1, 0.2]}}
        metric = {"name": "test/loss", "goal": "min"}
        run(parse_study(small_study(base=base, factors=factors, seeds=1, metric=metric)), tmp_path / name, workers=2)
        found[name] = trials_of(tmp_path / name)
    for off, on in zip(found["off"], found["on"], strict=True):
        assert on["error"] is None
        assert {key: value for key, value in on["metrics"].items() if not is_mechanism(key)} == off["metrics"]
        assert on["metrics"]["mechanism/weight_gradient/net"] > 0
        assert "gap/loss" in on["metrics"]

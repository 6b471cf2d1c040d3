"""Studies that measure mechanisms, from the file to the ledger."""

import sys

import pytest
import yaml
from small_study import small_study

from ablate.commands import main
from experiments import Ledger, RunOptions, StudyError, parse_study, run
from experiments.planning.plan import plan_trials
from experiments.study.mechanisms import MECHANISM, METRICS, RATIOS, is_mechanism, split_metric


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


def test_mechanisms_are_metrics_that_may_decide_a_study(tmp_path):
    metric = {"name": "mechanism/weight_gradient_ratio", "goal": "max"}
    outcome = run(parse_study(study(metric=metric)), tmp_path / "s", RunOptions(num_slots=1))
    assert outcome.counts["finished"] == 4
    for trial in trials_of(tmp_path / "s"):
        assert trial["backend"] == "fused"
        assert trial["metrics"]["mechanism/weight_gradient_ratio"] > 0
        assert ("mechanism/dead/activation1" in trial["metrics"]) == (trial["levels"]["activation"] == "relu")


@pytest.mark.slow
def test_a_separately_trained_trial_measures_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # the command adds its folder
    content = study()
    content["base"]["trainer"]["precision"] = "64-true"
    run(parse_study(content, name="one"), tmp_path / "all", RunOptions(num_slots=1))
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(content))
    main(["trial", str(tmp_path / "one.yaml"), "activation=relu,seed=1", "--out", str(tmp_path / "by_itself")])
    ends = [trial for trial in trials_of(tmp_path / "by_itself") if trial["status"] == "finished"]
    (unfused,) = ends
    (fused,) = [trial for trial in trials_of(tmp_path / "all") if trial["trial_id"] == unfused["trial_id"]]
    assert unfused["metrics"] == pytest.approx(fused["metrics"], rel=1e-9, abs=1e-9)


@pytest.mark.slow
def test_mechanisms_do_not_change_training_on_several_devices(tmp_path):
    found = {}
    for name, callbacks in (("off", None), ("on", [{"class_path": "experiments.mechanisms.Mechanisms"}])):
        base = {
            "model": {"class_path": "ranked_module.Ranked"},
            "data": {"class_path": "ranked_module.Points"},
            "trainer": {"max_epochs": 2, "accelerator": "cpu", "devices": 2, "strategy": "ddp", "callbacks": callbacks},
        }
        factors = {"lr": {"key": "model.init_args.lr", "levels": [0.1, 0.2]}}
        metric = {"name": "test/loss", "goal": "min"}
        run(
            parse_study(small_study(base=base, factors=factors, seeds=1, metric=metric)),
            tmp_path / name,
            RunOptions(num_slots=2),
        )
        found[name] = trials_of(tmp_path / name)
    for off, on in zip(found["off"], found["on"], strict=True):
        assert on["error"] is None
        assert {key: value for key, value in on["metrics"].items() if not is_mechanism(key)} == off["metrics"]
        assert on["metrics"]["mechanism/weight_gradient/net"] > 0
        assert "gap/loss" in on["metrics"]


def with_claim(metric, **changes):
    claim = {"factor": "activation", "better": "relu", "than": "tanh", "says": "It is so."}
    return study(claims={"so": claim | {"metric": {"name": metric, "goal": "min"}}}, **changes)


@pytest.mark.parametrize(
    ("metric", "mechanisms", "message"),
    [
        (
            "mechanism/dead/activation1",
            None,
            "mechanism/dead/activation1 is not measured: the study needs `mechanisms: [dead]`",
        ),
        (
            "mechanism/weight_gradient_ratio",
            ["dead"],
            "mechanism/weight_gradient_ratio is not measured: `mechanisms` lacks 'gradients'",
        ),
        ("mechanism/deads/activation1", ["dead"], "'deads' is not a mechanism; did you mean 'dead'?"),
        ("mechanism/dead", ["dead"], "is measured for each layer; mechanism/dead/<layer> is expected"),
        (
            "mechanism/weight_gradient_ratio/linear1",
            "all",
            "is not measured for a layer; mechanism/weight_gradient_ratio is expected",
        ),
    ],
)
def test_a_claim_on_an_unmeasured_metric_is_a_problem(metric, mechanisms, message):
    planned = parse_study(with_claim(metric, mechanisms=mechanisms))
    with pytest.raises(StudyError) as error:
        plan_trials(planned)
    assert f"claims.so.metric.name: {metric} " in str(error.value)
    assert message in str(error.value)
    planned = parse_study(study(metric={"name": metric, "goal": "min"}, mechanisms=mechanisms))
    with pytest.raises(StudyError, match=r"metric\.name: mechanism/"):
        plan_trials(planned)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            "mechanism/dead/activation1",
            "mechanism/dead/activation1 is not measured in the cell activation=tanh; no layer there has 'dead'",
        ),
        (
            "mechanism/weight_norm/linear_1",
            "is not measured in the cell activation=tanh; did you mean 'linear1'? layers: linear1, linear2, output",
        ),
        (
            "mechanism/saturated/linear1",
            "is not measured in the cell activation=tanh; layers: activation1, activation2",
        ),
    ],
)
def test_a_claim_on_an_unknown_layer_is_a_problem(metric, message):
    planned = parse_study(with_claim(metric, mechanisms="all"))
    with pytest.raises(StudyError) as error:
        plan_trials(planned)
    assert f"claims.so.metric.name: {metric} " in str(error.value)
    assert str(error.value).endswith(message)


@pytest.mark.parametrize("metric", ["mechanism/activation_std/activation1", "mechanism/weight_norm/output", "val/loss"])
def test_a_claim_on_a_measured_metric_is_accepted(metric):
    assert len(plan_trials(parse_study(with_claim(metric, mechanisms="all")))) == 4


def test_a_callback_in_the_base_measures_too():
    content = with_claim("mechanism/weight_norm/output", mechanisms=None)
    content["base"]["trainer"]["callbacks"] = {"class_path": "experiments.mechanisms.Mechanisms"}
    assert len(plan_trials(parse_study(content))) == 4


def test_claimable_metrics_are_the_measured_ones(tmp_path):
    content = study(mechanisms="all", seeds=1)

    run(parse_study(content), tmp_path / "s", RunOptions(num_slots=1))
    told = {name for trial in trials_of(tmp_path / "s") for name in trial["metrics"] if name.startswith(MECHANISM)}
    layered = {found[0] for name in told if (found := split_metric(name))}
    assert layered == set(METRICS)
    assert {name for name in told if not split_metric(name)} == {f"{MECHANISM}{name}" for name in RATIOS}

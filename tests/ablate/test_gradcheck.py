"""Tests of `ablate gradcheck`, and of the point at which the gradient of a trial is taken."""

import sys
from pathlib import Path

import gradient_modules
import pytest
import torch
import yaml
from small_study import small_study

from ablate.commands import main
from ablate.console import make_console
from ablate.gradcheck import print_check
from experiments import check_gradients, parse_study
from experiments.config.instantiate import make_model
from experiments.gradients.trial_start import prepare_trial
from experiments.planning.plan import plan_trials
from experiments.training.named_draws import NamedDraws


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(small_study()))
    wrong = {
        "model": {"class_path": "wrong_classifier.WrongClassifier", "init_args": {"hidden": [4]}},
        "data": {"class_path": "datamodules.Digits"},
        "trainer": {"max_epochs": 1},
    }
    factors = {"f": {"key": "model.init_args.activation", "levels": ["tanh", "sigmoid"]}}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(small_study(base=wrong, factors=factors)))


def ablate(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, " ".join(captured.out.split()), captured.err


def test_a_correct_gradient_agrees_with_exit_code_0(capsys):
    code, out, _ = ablate(capsys, "gradcheck", "mine.yaml")
    assert code == 0
    assert "layers.output.weight" in out
    assert "the gradient agrees with finite differences: relative tolerance 0.0001," in out


def test_a_wrong_gradient_is_named_with_exit_code_1(capsys):
    code, out, _ = ablate(capsys, "gradcheck", "wrong.yaml", "f=sigmoid,seed=0", "--entries", "5")
    assert code == 1
    assert "WrongClassifier, f=sigmoid, seed=0" in out
    assert "layers.linear1.weight 256 " in out
    assert "error: largest of 5 entries, each changed alone" in out
    assert "the gradient DIFFERS from finite differences" in out
    assert "layers.linear1.bias [" in out
    assert ": backward pass " in out


def test_long_names_are_not_cut_in_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    base = {
        "model": {"class_path": "gradient_modules.DeeplyNamed"},
        "data": {"class_path": "gradient_modules.Points"},
        "trainer": {"max_epochs": 1},
    }
    factors = {"lr": {"key": "model.init_args.lr", "levels": [0.1, 0.2]}}
    Path("deep.yaml").write_text(yaml.safe_dump(small_study(base=base, factors=factors)))
    assert main(["gradcheck", "deep.yaml"]) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    rows = out.splitlines()[1:-2]
    assert max(map(len, rows)) <= 80
    assert "the_encoder_of_the_words.the_first_of_its_layers.weight" in "".join(line.split(" ")[0] for line in rows)


def test_an_interrupt_does_not_promise_to_continue(capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.planning.plan.plan_trials", interrupted)
    code, _, err = ablate(capsys, "gradcheck", "mine.yaml")
    assert (code, err) == (130, "ablate: interrupted\n")


def test_a_hook_that_changes_gradients_is_named(capsys):
    check = check_gradients(gradient_modules.ClipsItself(), next(iter(gradient_modules.Points().train_dataloader())))
    print_check(check, "lr=0.1, seed=0", make_console())
    line = "ClipsItself may change gradients in on_after_backward; the gradient before this change is compared\n"
    assert line in capsys.readouterr().out


def test_wrong_input_has_exit_code_2(capsys):
    code, _, err = ablate(capsys, "gradcheck", "mine.yaml", "--tolerance", "3")
    wanted = "a number from 1e-08, the precision of finite differences, to below 1 is needed"
    assert (code, err) == (2, f"ablate: tolerance is 3: {wanted}\n")
    code, _, err = ablate(capsys, "gradcheck", "mine.yaml", "activation=rleu,seed=0")
    assert code == 2


def test_a_trial_is_checked_at_its_initial_values_on_its_first_batch():
    trial = plan_trials(parse_study(small_study()))[0]
    model, (inputs, target) = prepare_trial(trial)
    twin = NamedDraws(trial.seed).build(lambda: make_model(trial.config, model_data(trial)))
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
    expected = next(iter(model_data(trial).train_dataloader()))
    assert torch.equal(inputs, expected[0])
    assert torch.equal(target, expected[1])


def model_data(trial):
    from experiments.config.instantiate import make_data
    from experiments.training.seeding import seed_global_generators

    seed_global_generators(trial.seed)
    data = make_data(trial.config)
    data.setup("fit")
    return data


@pytest.mark.parametrize(
    ("data", "why"), [(None, "MisconfigurationException: "), ("NoPoints", "ValueError: no points")]
)
def test_missing_training_batches_are_reported(data, why, capsys):
    base = {"model": {"class_path": "gradient_modules.DeeplyNamed"}, "trainer": {"max_epochs": 1}}
    if data is not None:
        base["data"] = {"class_path": f"gradient_modules.{data}"}
    factors = {"lr": {"key": "model.init_args.lr", "levels": [0.1, 0.2]}}
    Path("none.yaml").write_text(yaml.safe_dump(small_study(base=base, factors=factors)))
    code, _, err = ablate(capsys, "gradcheck", "none.yaml")
    assert code == 2
    assert err.startswith(f"ablate: lr=0.1, seed=0: its training batches cannot be read: {why}")
    assert "Traceback" not in err

"""Optimizers, batch sizes and learning rates as factors of a study file."""

import pytest
from fused_and_unfused import train_unfused

from experiments import StudyError, load_study, parse_study
from experiments.fusing import group_trials, train_in_one_loop
from experiments.planning.plan import plan_trials

STUDY = """
question: Which optimizer trains a small MLP best in five epochs?
base:
  model: {class_path: lit_models.MLP, init_args: {hidden: [8]}}
  data: {class_path: datamodules.Digits, init_args: {batch_size: 20, train_size: 100, val_size: 50, test_size: 50}}
  trainer: {max_epochs: 2, accelerator: cpu, precision: 64-true}
factors:
  optimizer:
    levels:
      full-batch gradient descent:
        data.init_args.batch_size: all
        model.init_args.optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.5}}
      stochastic gradient descent:
        data.init_args.batch_size: 1
        model.init_args.optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.01}}
      mini-batch SGD: {model.init_args.optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}}
      momentum: {model.init_args.optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05, momentum: 0.9}}}
      Nesterov:
        model.init_args.optimizer:
          class_path: torch.optim.SGD
          init_args: {lr: 0.05, momentum: 0.9, nesterov: true}
      Adagrad: {model.init_args.optimizer: {class_path: torch.optim.Adagrad, init_args: {lr: 0.05}}}
      RMSprop: {model.init_args.optimizer: {class_path: torch.optim.RMSprop, init_args: {lr: 0.003}}}
      Adam: {model.init_args.optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.003}}}
      AdamW:
        model.init_args.optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.003, weight_decay: 0.01}}
    reference: mini-batch SGD
seeds: 2
metric: {name: test/acc, goal: max, margin: 0.01}
"""
GRID = """
question: Which learning rate suits which optimizer?
base:
  model: {class_path: lit_models.MLP, init_args: {hidden: [8]}}
  data: {class_path: datamodules.Digits}
  trainer: {max_epochs: 2, accelerator: cpu}
factors:
  optimizer:
    key: model.init_args.optimizer
    levels: {SGD: {class_path: torch.optim.SGD}, Adam: {class_path: torch.optim.Adam}}
    reference: SGD
  lr: {key: model.init_args.optimizer.init_args.lr, levels: [0.001, 0.01, 0.1], reference: 0.01}
design: full
seeds: 2
metric: {name: test/acc, goal: max}
"""


@pytest.fixture
def planned(tmp_path):
    def plan(text):
        path = tmp_path / "study.yaml"
        path.write_text(text, encoding="utf-8")
        return plan_trials(load_study(path))

    return plan


@pytest.mark.slow
def test_nine_optimizers_share_a_loop_for_each_batch_size(planned, tmp_path):
    trials = planned(STUDY)
    assert len(trials) == 18
    groups = group_trials(trials, num_slots=1)
    assert sorted(len(group.trials) for group in groups) == [2, 2, 14]
    assert {group.reason_not_fusable for group in groups} == {None}
    for group in groups:
        fused = train_in_one_loop(group.trials, lambda event: None)
        for trial in group.trials:
            unfused = train_unfused(trial, tmp_path)
            assert unfused.error is None
            for mine, theirs in zip(fused[trial.trial_id].epochs, unfused.epochs, strict=True):
                assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-9)
            assert fused[trial.trial_id].metrics == pytest.approx(unfused.metrics, rel=1e-9, abs=1e-9)


def test_batch_size_sets_the_number_of_steps_in_an_epoch(planned):
    from experiments.config.instantiate import make_data

    steps = {}
    for trial in planned(STUDY):
        data = make_data(trial.config)
        data.setup()
        steps[trial.levels["optimizer"]] = len(data.train_dataloader())
    assert steps.pop("full-batch gradient descent") == 1
    assert steps.pop("stochastic gradient descent") == 100
    assert set(steps.values()) == {5}


def test_learning_rates_cross_with_optimizers_without_a_rate(planned):
    trials = planned(GRID)
    found = {
        (trial.levels["optimizer"], trial.levels["lr"]): trial.config["model"]["init_args"]["optimizer"]
        for trial in trials
    }
    assert len(found) == 6
    for (name, rate), optimizer in found.items():
        assert optimizer["class_path"] == f"torch.optim.{name}"
        assert optimizer["init_args"]["lr"] == float(rate)
    assert [len(group.trials) for group in group_trials(trials, num_slots=1)] == [12]


def test_batch_norm_with_batches_of_one_is_reported_in_planning():
    content = {
        "question": "q?",
        "base": {
            "model": {"class_path": "lit_models.MLP", "init_args": {"hidden": [8], "batch_norm": True}},
            "data": {"class_path": "datamodules.Digits"},
            "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        },
        "factors": {"b": {"key": "data.init_args.batch_size", "levels": [1, 20, "all"]}},
        "metric": {"name": "test/acc", "goal": "max"},
    }
    with pytest.raises(StudyError) as error:
        plan_trials(parse_study(content))
    assert str(error.value).endswith(
        "factors.b.1: model: lit_models.MLP cannot train on its data: MLP: batch_norm compares the examples of a "
        "batch, and Digits has batch_size 1; "
        "accepted: batches of at least 2, or batch_norm false"
    )

"""Trials that are pretrained one by one and then fused."""

import pytest
import torch
from fused_and_unfused import assert_equal, train_unfused, trials_of
from slow import slow

from experiments.fusing import group_trials, train_in_one_loop
from lit_models import MLP

DIGITS = {
    "class_path": "datamodules.Digits",
    "init_args": {"batch_size": 50, "train_size": 300, "unlabelled_size": 200},
}


def mlp(**init_args):
    given = {"hidden": [12, 8], "activation": "sigmoid", "init": "rbm", "pretraining_epochs": 2}
    return {"class_path": "lit_models.MLP", "init_args": given | init_args}


@pytest.mark.parametrize("data", [None, slow(DIGITS)], ids=["training examples", "unlabelled ones too"])
def test_pretrained_trials_are_equal_fused_and_unfused(data, tmp_path):
    rates = [0.001, 0.1]
    levels = {str(lr): {"class_path": "torch.optim.SGD", "init_args": {"lr": lr}} for lr in rates}
    assert_equal(trials_of(mlp(), levels, key="model.init_args.optimizer", data=data), tmp_path)


@pytest.mark.slow
def test_pretraining_may_differ_within_a_group(tmp_path):
    trials = trials_of(mlp(), [1, 3], key="model.init_args.pretraining_epochs", max_epochs=1)
    assert_equal(trials, tmp_path)
    found = train_in_one_loop(trials, lambda event: None)
    assert len({result.metrics["pretraining/reconstruction1"] for result in found.values()}) == len(trials)


def test_pretraining_in_single_precision_is_bit_identical_to_unfused(tmp_path):
    trials = trials_of(mlp(), [1, 3], key="model.init_args.pretraining_epochs", max_epochs=1, precision=None)
    fused = train_in_one_loop(trials, lambda event: None)
    for trial in trials:
        unfused = train_unfused(trial, tmp_path)
        assert unfused.error is None
        for number in (1, 2):
            name = f"pretraining/reconstruction{number}"
            assert fused[trial.trial_id].metrics[name] == unfused.metrics[name]


def test_data_that_draw_from_global_generators_are_read_as_unfused(tmp_path):
    points = {"class_path": "pretrained_module.DrawnPoints"}
    model = mlp(input_shape=[4], num_classes=2)
    trials = trials_of(model, [1, 3], key="model.init_args.pretraining_epochs", data=points, max_epochs=2)
    assert_equal(trials, tmp_path)


def test_each_level_of_init_is_a_group():
    trials = trials_of(mlp(), ["xavier", "he", "rbm"])
    groups = group_trials(trials, num_slots=1)
    assert [group.reason_not_fusable for group in groups] == [None, None]
    assert sorted({trial.levels["f"] for trial in group.trials} for group in groups) == [{"xavier", "he"}, {"rbm"}]


def test_another_on_fit_start_prevents_fusing():
    trials = trials_of({"class_path": "pretrained_module.OwnHook"}, [1, 2], key="model.init_args.pretraining_epochs")
    reasons = {group.reason_not_fusable for group in group_trials(trials, num_slots=1)}
    assert reasons == {"OwnHook overrides on_fit_start"}


def test_a_pretrain_method_without_the_hook_is_not_called(tmp_path):
    model = {"class_path": "pretrained_module.OtherMethod"}
    assert_equal(trials_of(model, [1.0, 2.0], key="model.init_args.factor", max_epochs=1), tmp_path)


def test_pretraining_of_a_users_module_fuses(tmp_path):
    model = {"class_path": "pretrained_module.OwnPretraining", "init_args": {"hidden": [6]}}
    trials = trials_of(model, [0.5, 2.0], key="model.init_args.factor", max_epochs=1)
    assert_equal(trials, tmp_path)


def test_pretraining_that_diverges_gives_the_unfused_result(tmp_path):
    trials = trials_of(mlp(), [1e30, 0.1], key="model.init_args.pretraining_lr", max_epochs=1, precision=None, seeds=1)
    fused = train_in_one_loop(trials, lambda event: None)
    statuses = [fused[trial.trial_id].status for trial in trials]
    assert statuses == [train_unfused(trial, tmp_path).status for trial in trials] == ["diverged", "finished"]


def test_pretraining_does_not_change_the_training_batches(tmp_path, monkeypatch):
    """Reading an epoch before training does not change the draws of the first epoch."""
    model = mlp(input_shape=[4], num_classes=2)
    data = {"class_path": "pretrained_module.DrawnPoints"}
    seen = []
    step = MLP.training_step
    monkeypatch.setattr(MLP, "training_step", lambda self, batch, at: (seen.append(batch[0]), step(self, batch, at))[1])
    for trial in trials_of(model, ["xavier", "rbm"], data=data, seeds=1):
        assert train_unfused(trial, tmp_path).error is None
    half = len(seen) // 2
    assert all(torch.equal(one, other) for one, other in zip(seen[:half], seen[half:], strict=True))

"""Fused training equals unfused training, trial by trial; trials that cannot share a loop have a reason."""

import copy
import math

import pytest
import torch
from fused_and_unfused import LR, assert_equal, train_unfused, trials_of
from slow import slow, slow_except

from experiments.config.instantiate import make_data, make_model
from experiments.fusing import group_trials, train_fused, train_in_one_loop
from experiments.fusing.fit.clipping import Clipping
from experiments.trials.trial import NotFused

OPTIMIZERS = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.05, "momentum": 0.9},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ],
    "Adam": [{"lr": 0.01}, {"lr": 0.001, "betas": [0.8, 0.99]}, {"lr": 0.001, "weight_decay": 0.1}],
    "AdamW": [{"lr": 0.01}, {"lr": 0.001, "weight_decay": 0.5}],
    "RMSprop": [{"lr": 0.01}, {"lr": 0.001, "alpha": 0.9}],
    "Adagrad": [{"lr": 0.01}, {"lr": 0.1}],
}
INITS = ["default", "normal", "xavier_uniform", "xavier_normal", "he_uniform", "he_normal"]


def mlp(**init_args):
    return {"class_path": "lit_models.MLP", "init_args": {"hidden": [12, 8]} | init_args}


def user(name="Fusable", **init_args):
    return {"class_path": f"fusable_module.{name}", "init_args": init_args}


POINTS = {"class_path": "fusable_module.Points"}


@pytest.mark.parametrize("name", slow_except(OPTIMIZERS, "AdamW"))
def test_every_optimizer_fuses_with_hyperparameters_of_each_trial(name, tmp_path):
    levels = {
        str(number): {"class_path": f"torch.optim.{name}", "init_args": arguments}
        for number, arguments in enumerate(OPTIMIZERS[name])
    }
    # Without batch norm: it makes the gradient of the bias before it pure rounding, which Adagrad divides by itself.
    assert_equal(trials_of(mlp(), levels, key="model.init_args.optimizer"), tmp_path)


MODELS = {
    "Perceptron": {"class_path": "lit_models.Perceptron"},
    "MLP": mlp(batch_norm=True, dropout=0.3),
    "ConvNet": {
        "class_path": "lit_models.ConvNet",
        "init_args": {
            "filters": [3, 4],
            "kernel_size": 3,
            "padding": 1,
            "hidden": [8],
            "batch_norm": True,
            "dropout": 0.2,
        },
    },
}


@pytest.mark.parametrize("name", slow_except(MODELS, "MLP"))
def test_every_shipped_model_fuses_with_every_init(name, tmp_path):
    assert_equal(trials_of(MODELS[name], INITS, seeds=1), tmp_path)


ACTIVATIONS = ["relu", "sigmoid", "tanh", "leaky_relu", "prelu", "gelu", "identity"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MLP", "ConvNet"])
def test_activations_share_a_group_and_prelu_keeps_its_slope(name, tmp_path):
    trials = trials_of(MODELS[name], ACTIVATIONS, key="model.init_args.activation", seeds=1)
    assert_equal(trials, tmp_path)
    counts = {result.num_parameters for result in train_in_one_loop(trials, lambda event: None).values()}
    assert len(counts) == 2


@pytest.mark.slow
def test_dropout_rates_share_a_group_with_the_unfused_masks(tmp_path):
    """A rate of 0 builds no dropout layer and shares the group nevertheless."""
    assert_equal(trials_of(mlp(), [0.0, 0.1, 0.5], key="model.init_args.dropout"), tmp_path)


@pytest.mark.parametrize("algorithm", ["norm", slow("value")])
def test_gradients_are_clipped_for_each_trial_by_itself(algorithm, tmp_path):
    levels = [0.001, 0.1]
    key = "model.init_args.optimizer.init_args.lr"
    clipping = {"gradient_clip_val": 0.05, "gradient_clip_algorithm": algorithm}
    assert_equal(trials_of(mlp(), levels, key=key, **clipping), tmp_path)


def test_clipping_scales_each_trial_by_its_own_norm():
    gradients = [torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([[4.0], [0.4]])]
    found = clipped(gradients, 1.0, "norm")
    assert torch.allclose(found[0], torch.tensor([[0.6, 0.0], [0.3, 0.0]]), atol=1e-5)
    assert torch.allclose(found[1], torch.tensor([[0.8], [0.4]]), atol=1e-5)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_that_share_memory_are_clipped_once(algorithm):
    shared = torch.tensor([[3.0, 4.0]])
    record_unfused = clipped([shared.clone(), shared.clone()], 0.5, algorithm)
    in_one_memory = clipped([shared, shared.view(1, 2)], 0.5, algorithm)
    assert torch.equal(shared, torch.tensor([[3.0, 4.0]]))
    assert all(torch.equal(*pair) for pair in zip(record_unfused, in_one_memory, strict=True))


def clipped(gradients, value, algorithm):
    parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    Clipping(value=value, algorithm=algorithm).clip_fused(parameters)
    return [parameter.grad for parameter in parameters]


@pytest.mark.slow
def test_each_trial_stops_early_by_itself(tmp_path):
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/acc", "mode": "max", "patience": 2},
    }
    key = "model.init_args.optimizer.init_args.lr"
    trials = trials_of(mlp(), [0.3, 0.001], key=key, max_epochs=12, callbacks=[stopping])
    assert_equal(trials, tmp_path)
    fused = train_in_one_loop(trials, lambda event: None)
    assert len({len(result.epochs) for result in fused.values()}) > 1


@pytest.mark.parametrize("schedule", ["", "step", "epoch"])
def test_a_users_module_and_data_fuse_unchanged(schedule, tmp_path):
    trials = trials_of(user(schedule=schedule), [0.05, 0.2], key="model.init_args.lr", data=POINTS, max_epochs=3)
    assert_equal(trials, tmp_path)


@pytest.mark.parametrize("every", [None, slow(1), 2, slow(5)])
def test_single_steps_are_logged_as_the_trainer_logs_them(every, tmp_path):
    trials = trials_of(user("LogsSteps"), [0.05, 0.2], key=LR, data=POINTS, max_epochs=3, log_every_n_steps=every)
    assert_equal(trials, tmp_path)


@pytest.mark.parametrize("name", ["KnowsWhen", "OwnForms"])
def test_typical_users_modules_fuse(name, tmp_path):
    assert_equal(trials_of(user(name), [0.05, 0.2], key=LR, data=POINTS, max_epochs=3), tmp_path)


def odd(name, **init_args):
    return {"class_path": f"odd_modules.{name}", "init_args": init_args}


LOADED = {"class_path": "odd_modules.Loaded"}
EQUAL = ["Odd", "EvalParts", "DropoutTwice", "Counter", "MomentumCopy", "AssignedBuffer", "LateModel", "Words"]


@pytest.mark.parametrize(
    "name", slow_except([*EQUAL, "OneArgument", "Numbers"], "DropoutTwice", "EvalParts", "Words", "OneArgument")
)
def test_odd_modules_fuse(name, tmp_path):
    assert_equal(trials_of(odd(name), [0.05, 0.1], key=LR, data=LOADED, max_epochs=3), tmp_path)


RANDOM = "a step draws random numbers outside nn.Dropout, which would be the same in all trials"
NOT_FUSED = [
    ("OtherDropout", RANDOM),
    ("LateDraws", RANDOM),
    ("ChangedRate", "a step changes the rate of net.1"),
    ("TurnedDropout", "f=0.05, seed=0: the loss of step 0 differs by "),
    ("SeedsOwn", "f=0.05, seed=1: the loss of step 0 differs by "),
    ("LogsTwice", "a step logs 'val/loss' twice"),
]


@pytest.mark.parametrize(("name", "reason"), NOT_FUSED)
def test_steps_that_would_differ_prevent_fusing(name, reason):
    found = train_fused(trials_of(odd(name), [0.05, 0.1], key=LR, data=LOADED), lambda event: None)
    assert isinstance(found, NotFused)
    assert found.reason.startswith(reason), found.reason


def test_dropout_in_another_layer_is_found():
    trials = trials_of(odd("DropoutSomewhere"), ["a", "b"], key="model.init_args.kind", data=LOADED)
    found = train_fused(trials, lambda event: None)
    assert isinstance(found, NotFused)
    assert found.reason.startswith("f=b, seed=0: the loss of step 0 differs by "), found.reason


@pytest.mark.parametrize("name", ["ReadsInValidation", "ReadsInGenerator"])
def test_a_hyperparameter_is_found_wherever_a_step_reads_it(name):
    groups = group_trials(trials_of(odd(name), [0.0, 1e-4], key="model.init_args.extra", data=LOADED), num_slots=1)
    assert [{trial.levels["f"] for trial in group.trials} for group in groups] == [{"0.0"}, {"0.0001"}]


def test_a_trial_that_diverges_leaves_the_others_bit_identical(tmp_path):
    def trained(rate):
        trials = trials_of(user(), [0.1, rate], key="model.init_args.lr", data=POINTS, max_epochs=3)
        return trials, train_in_one_loop(trials, lambda event: None)

    trials, fused = trained(1e200)
    others, without = trained(0.2)
    assert {fused[trial.trial_id].status for trial in trials if trial.levels["f"] != "0.1"} == {"diverged"}
    for trial, other in zip(trials, others, strict=True):
        if trial.levels["f"] == "0.1":
            assert fused[trial.trial_id].epochs == without[other.trial_id].epochs
        one = train_unfused(trial, tmp_path)
        assert (one.status, one.diverged_epoch) == (
            fused[trial.trial_id].status,
            fused[trial.trial_id].diverged_epoch,
        )


def test_results_do_not_depend_on_the_group():
    trials = trials_of(mlp(dropout=0.3), ["he", "xavier"], seeds=3)
    whole = train_in_one_loop(trials, lambda event: None)
    parts = {**train_in_one_loop(trials[:2], lambda event: None), **train_in_one_loop(trials[2:], lambda event: None)}
    for trial in trials:
        assert whole[trial.trial_id].metrics == pytest.approx(parts[trial.trial_id].metrics, rel=1e-9, abs=1e-9)


def test_in_single_precision_the_first_epochs_agree_within_rounding(tmp_path):
    trials = trials_of(mlp(), ["he", "xavier"], precision="32-true", max_epochs=1)
    fused = train_in_one_loop(trials, lambda event: None)
    for trial in trials:
        assert fused[trial.trial_id].metrics == pytest.approx(train_unfused(trial, tmp_path).metrics, abs=0.01)


def test_epochs_are_emitted_as_they_end():
    trials = trials_of(mlp(), ["he", "xavier"], seeds=1)
    events = []
    fused = train_in_one_loop(trials, events.append)
    assert [(event.trial_id, event.epoch) for event in events] == [
        (trial.trial_id, epoch) for epoch in (0, 1) for trial in trials
    ]
    assert events[-1].metrics == fused[trials[-1].trial_id].epochs[-1]


NOT_FUSABLE = [
    (user("ByHand"), {}, "ByHand uses manual optimization (automatic_optimization = False)"),
    (user(schedule="rare"), {}, "its scheduler has the frequency 2, which only the Lightning Trainer supports"),
    (user("Recurrent"), {}, "Recurrent.cell is a LSTM, which vmap cannot batch"),
    (
        {"class_path": "user_module.UserModule"},
        {},
        "UserModule overrides on_train_epoch_end",
    ),
    (user(), {"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches is 2, which only the Lightning Trainer"),
    (user(), {"max_epochs": None, "max_steps": 5}, "trainer.max_steps is 5, which only the Lightning Trainer supports"),
    (odd("GradientHook"), {}, "GradientHook.net.0.weight has a hook on its gradient"),
    (user(), {"precision": "bf16-mixed"}, "trainer.precision is 'bf16-mixed'"),
    (
        user(),
        {"callbacks": [{"class_path": "lightning.pytorch.callbacks.Timer"}]},
        "the callback Timer needs the Lightning Trainer",
    ),
]


@pytest.mark.parametrize(("model", "trainer", "reason"), NOT_FUSABLE, ids=[reason[:40] for *_, reason in NOT_FUSABLE])
def test_the_reason_against_fusing_is_one_clause(model, trainer, reason):
    groups = group_trials(trials_of(model, [0.1, 0.2], key=LR, data=POINTS, **trainer), num_slots=1)
    assert [len(group.trials) for group in groups] == [1, 1, 1, 1]
    assert all(group.reason_not_fusable.startswith(reason) for group in groups), groups[0].reason_not_fusable


def test_hooks_of_the_data_module_prevent_fusing():
    groups = group_trials(trials_of(odd("Odd"), [0.1, 0.2], key=LR, data={"class_path": "odd_modules.Changed"}), 1)
    assert {group.reason_not_fusable for group in groups} == {"Changed overrides on_after_batch_transfer"}


FOUND_BY_THE_FIRST_STEP = [
    ("ReadsTrainer", "it reads self.trainer.callbacks"),
    ("ReadsHidden", "f=0.2, seed=0: the loss of step 0 differs by "),
]


@pytest.mark.parametrize(("name", "reason"), FOUND_BY_THE_FIRST_STEP)
def test_differences_are_found_before_anything_is_trained(name, reason):
    events = []
    found = train_fused(trials_of(user(name), [0.1, 0.2], key=LR, data=POINTS), events.append)
    assert isinstance(found, NotFused)
    assert found.reason.startswith(reason), found.reason
    assert events == []


def test_only_hyperparameters_that_steps_read_separate_trials():
    by_weight = group_trials(trials_of(user(), [1.0, 2.0], key="model.init_args.weight", data=POINTS), num_slots=1)
    assert [{trial.levels["f"] for trial in group.trials} for group in by_weight] == [{"1.0"}, {"2.0"}]
    by_rate = group_trials(trials_of(user(), [1.0, 2.0], key=LR, data=POINTS), num_slots=1)
    assert [len(group.trials) for group in by_rate] == [4]


def test_groups_fill_the_slots_and_keep_the_trials_of_a_seed():
    trials = sorted(trials_of(mlp(), ["he", "xavier"], seeds=70), key=lambda trial: trial.seed)
    groups = group_trials(trials, num_slots=2)
    assert [len(group.trials) for group in groups] == [36, 34, 34, 36]
    assert all(len(group.trials) == 2 * len({trial.seed for trial in group.trials}) for group in groups)
    assert [len(group.trials) for group in group_trials(trials[:6], num_slots=2)] == [4, 2]
    (lonely,) = group_trials(trials[:1], num_slots=2)
    assert (lonely.is_fused, lonely.reason_not_fusable) == (False, "no other trial has the same structure")


def test_convolutions_are_unfused_on_a_cpu_where_that_is_faster():
    trials = trials_of(MODELS["ConvNet"], ["he", "xavier"])
    asked = group_trials(trials, num_slots=1, only_where_faster=True)
    assert {group.reason_not_fusable for group in asked} == {"on a CPU, convolutions are faster one trial at a time"}
    assert [len(group.trials) for group in group_trials(trials, num_slots=1)] == [4]


def test_one_seed_is_split_by_cells_for_several_slots():
    trials = trials_of(mlp(), INITS, seeds=1)
    assert [len(group.trials) for group in group_trials(trials, num_slots=3)] == [2, 2, 2]


def test_too_little_memory_halves_the_group_before_it_is_built(monkeypatch):
    trials = trials_of(mlp(), ["he", "xavier"], seeds=2, max_epochs=1)
    whole = train_fused(trials, lambda event: None)
    monkeypatch.setattr("experiments.fusing.admit.proven_group.find_budget", lambda device: 30_000)
    monkeypatch.setattr("experiments.fusing.groups.train_in_one_loop", recorded := RecordedSizes(train_in_one_loop))
    in_parts = dict(train_fused(trials, lambda event: None))
    assert recorded.sizes == [4, 2, 1, 1, 2, 1, 1]
    for trial_id, result in whole:
        assert result.metrics == pytest.approx(in_parts[trial_id].metrics, rel=1e-9, abs=1e-9)


class RecordedSizes:
    def __init__(self, function):
        self.function = function
        self.sizes = []

    def __call__(self, trials, emit):
        self.sizes.append(len(trials))
        return self.function(trials, emit)


def test_out_of_memory_halves_the_group(monkeypatch):
    trials = trials_of(mlp(), ["he", "xavier"], seeds=2, max_epochs=1)
    sizes = []

    def limited(part, emit):
        sizes.append(len(part))
        if len(part) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return train_in_one_loop(part, emit)

    monkeypatch.setattr("experiments.fusing.groups.train_in_one_loop", limited)
    found = train_fused(trials, lambda event: None)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    assert {trial_id for trial_id, _ in found} == {trial.trial_id for trial in trials}


def test_an_error_in_the_users_code_is_a_reason_and_no_result(monkeypatch):
    trials = trials_of(user(), [0.1, 0.2], key=LR, data=POINTS)

    def broken(self, batch, batch_idx):
        raise ZeroDivisionError("mine")

    monkeypatch.setattr("fusable_module.Fusable.validation_step", broken)
    found = train_fused(trials, lambda event: None)
    assert found == NotFused(reason="fused training raises ZeroDivisionError: mine")


def test_grouping_does_not_change_a_model():
    (trial, *_) = trials_of(mlp(), ["he", "xavier"])
    config = copy.deepcopy(trial.config)
    group_trials([trial], num_slots=1)
    assert trial.config == config
    assert math.isfinite(make_model(trial.config, make_data(trial.config))(torch.zeros(2, 1, 8, 8)).sum().item())

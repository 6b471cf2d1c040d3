import pytest
import torch
from fused_and_unfused import assert_equal, train_unfused, trials_of
from slow import slow, slow_except

from experiments.fusing import group_trials, train_in_one_loop
from experiments.study.mechanisms import is_mechanism

LR = "model.init_args.lr"
OPTIMIZER = "model.init_args.optimizer"


def mechanisms_spec(**init_args):
    return {"class_path": "experiments.mechanisms.Mechanisms", "init_args": init_args}


def mlp(**init_args):
    return {"class_path": "lit_models.MLP", "init_args": {"hidden": [12, 8]} | init_args}


def train_fused(trials):
    (group,) = group_trials(trials, num_slots=1)
    assert group.reason_not_fusable is None
    return train_in_one_loop(group.trials, lambda event: None)


def train_by_name(trials):
    """Train trials fused, and return their results by levels and seed."""
    results = train_fused(trials)
    return {str(trial): results[trial.trial_id] for trial in trials}


@pytest.mark.parametrize(
    ("model", "key", "levels"),
    [
        slow(mlp(), "model.init_args.activation", ["sigmoid", "relu", "tanh", "prelu", "identity"]),
        slow(
            mlp(activation="sigmoid", batch_norm=True, dropout=0.3), "model.init_args.init", ["xavier", "he", "default"]
        ),
        slow(mlp(hidden=[8] * 6, activation="relu", init="he"), "model.init_args.dropout", [0.0, 0.5]),
        (mlp(hidden=[]), "model.init_args.init", ["xavier", "he"]),
    ],
    ids=["activations", "inits", "deep", "perceptron"],
)
def test_mlps_have_equal_mechanisms_fused_and_unfused(model, key, levels, tmp_path):
    assert_equal(trials_of(model, levels, key, callbacks=[mechanisms_spec()]), tmp_path)


@pytest.mark.parametrize(
    "name",
    slow_except(["Reader", "Gated", "Looped", "Filters", "Tied", "Frozen", "Functional", "Measured"], "Gated", "Tied"),
)
def test_text_modules_have_equal_mechanisms_fused_and_unfused(name, tmp_path):
    model, data = {"class_path": f"text_modules.{name}"}, {"class_path": "text_modules.Sentences"}
    assert_equal(trials_of(model, [0.05, 0.1], LR, data=data, callbacks=[mechanisms_spec(examples=24)]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "init_args"),
    [
        ("TextConvNet", {"widths": [2, 3], "num_maps": 3, "embedding_size": 5}),
        ("Recurrent", {"cell": "gru", "hidden_size": 4, "num_layers": 2, "embedding_size": 5, "dropout": 0.2}),
    ],
)
def test_shipped_text_models_have_equal_mechanisms(name, init_args, tmp_path):
    model = {"class_path": f"lit_models.{name}", "init_args": init_args}
    trials = trials_of(
        model, ["xavier", "he"], data={"class_path": "small_data.TinyTexts"}, callbacks=[mechanisms_spec()]
    )
    assert_equal(trials, tmp_path)


def test_convnets_have_equal_mechanisms_fused_and_unfused(tmp_path):
    model = {"class_path": "lit_models.ConvNet", "init_args": {"filters": [3], "hidden": []}}
    trials = trials_of(model, ["xavier", "he"], seeds=1, max_epochs=1, callbacks=[mechanisms_spec(examples=64)])
    assert_equal(trials, tmp_path)


@pytest.mark.parametrize("name", slow_except(["Fusable", "KnowsWhen", "LogsSteps", "OwnForms"], "Fusable"))
def test_users_modules_have_equal_mechanisms_fused_and_unfused(name, tmp_path):
    model, data = {"class_path": f"fusable_module.{name}"}, {"class_path": "fusable_module.Points"}
    assert_equal(trials_of(model, [0.01, 0.02], LR, data=data, callbacks=[mechanisms_spec(examples=40)]), tmp_path)


def test_a_reused_layer_with_inplace_relu_has_equal_mechanisms(tmp_path):
    model, data = {"class_path": "mechanism_modules.Small"}, {"class_path": "mechanism_modules.Numbers"}
    assert_equal(trials_of(model, [0.05, 0.1], LR, data=data, callbacks=[mechanisms_spec(examples=20)]), tmp_path)


@pytest.mark.slow
def test_unused_layers_have_equal_mechanisms(tmp_path):
    model, data = {"class_path": "mechanism_modules.HalfUsed"}, {"class_path": "mechanism_modules.Numbers"}
    assert_equal(trials_of(model, [0.05, 0.1], LR, data=data, callbacks=[mechanisms_spec(examples=20)]), tmp_path)


@pytest.mark.parametrize("name", slow_except(["OwnHead", "OwnWeights"], "OwnHead"))
def test_parameters_outside_layers_have_equal_mechanisms(name, tmp_path):
    model, data = {"class_path": f"mechanism_modules.{name}"}, {"class_path": "mechanism_modules.Numbers"}
    assert_equal(trials_of(model, [0.05, 0.1], LR, data=data, callbacks=[mechanisms_spec(examples=20)]), tmp_path)


def test_the_fused_gap_uses_as_many_examples_as_unfused(tmp_path):
    digits = {"class_path": "datamodules.Digits", "init_args": {"batch_size": 100, "val_size": 0.5}}
    trials = trials_of(
        mlp(), ["relu", "tanh"], "model.init_args.activation", data=digits, callbacks=[mechanisms_spec()]
    )
    assert_equal(trials, tmp_path)


@pytest.mark.slow
def test_chunked_evaluation_gives_equal_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "experiments.fusing.fit.memory.MemoryEstimate.count_rows_at_once", lambda *_: 2
    )  # batches evaluated at once
    trials = trials_of(
        mlp(batch_norm=True), ["relu", "tanh"], "model.init_args.activation", 3, callbacks=[mechanisms_spec()]
    )
    assert_equal(trials, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", slow("64-true")])
def test_mechanisms_do_not_change_fused_training(precision):
    model = mlp(batch_norm=True, dropout=0.3, activation="relu")
    with_mechanisms, without_mechanisms = (
        train_by_name(trials_of(model, ["xavier", "he"], callbacks=callbacks, precision=precision))
        for callbacks in ([mechanisms_spec()], [])
    )
    for name, without in without_mechanisms.items():
        found = with_mechanisms[name]
        for measured, expected in zip([*found.epochs, found.metrics], [*without.epochs, without.metrics], strict=True):
            assert {key: value for key, value in measured.items() if not is_mechanism(key)} == expected
        assert found.correct == without.correct
        assert any(is_mechanism(key) for key in found.metrics)


@pytest.mark.slow
def test_early_stopping_can_monitor_mechanism_metrics(tmp_path):
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "mechanism/weight_norm/linear1", "mode": "min", "patience": 1},
    }
    optimizers = [{"class_path": "torch.optim.SGD", "init_args": {"lr": lr}} for lr in (0.0, 0.5)]
    levels = {"still": optimizers[0], "moving": optimizers[1]}
    trials = trials_of(mlp(), levels, OPTIMIZER, seeds=1, max_epochs=4, callbacks=[mechanisms_spec(), stopping])
    found = train_fused(trials)
    assert len(found[trials[0].trial_id].epochs) == 2
    assert_equal(trials, tmp_path)


def test_a_diverged_trial_does_not_change_the_others(tmp_path):
    levels = {
        name: {"class_path": "torch.optim.SGD", "init_args": {"lr": lr}} for name, lr in (("wild", 1e20), ("tame", 0.1))
    }
    trials = trials_of(mlp(activation="relu"), levels, OPTIMIZER, seeds=1, callbacks=[mechanisms_spec()])
    found = train_fused(trials)
    wild, tame = (found[trial.trial_id] for trial in trials)
    assert wild.status == "diverged"
    unfused = train_unfused(trials[1], tmp_path)
    assert tame.metrics == pytest.approx(unfused.metrics, rel=1e-9, abs=1e-9)
    assert train_unfused(trials[0], tmp_path).status == "diverged"


def test_two_mechanisms_callbacks_prevent_fusing():
    trials = trials_of(
        mlp(), ["xavier", "he"], callbacks=[mechanisms_spec(measure=["dead"]), mechanisms_spec(measure=["gap"])]
    )
    reasons = {group.reason_not_fusable for group in group_trials(trials, num_slots=1)}
    assert reasons == {"it has more than one Mechanisms callback"}


def test_the_probe_restores_lists_that_a_step_appends_to(tmp_path):
    model, data = {"class_path": "mechanism_modules.Appends"}, {"class_path": "mechanism_modules.Numbers"}
    assert_equal(
        trials_of(model, [0.05, 0.1], LR, data=data, callbacks=[mechanisms_spec(measure=["gradients"])]), tmp_path
    )


def test_single_and_double_precision_gradients_agree():
    key = "model.init_args.activation"
    results_by_precision = {
        precision: [
            *train_fused(
                trials_of(
                    mlp(), ["relu", "tanh"], key, callbacks=[mechanisms_spec()], precision=precision, max_epochs=1
                )
            ).values()
        ]
        for precision in ("32-true", "64-true")
    }
    for single, double in zip(results_by_precision["32-true"], results_by_precision["64-true"], strict=True):
        name = "mechanism/activation_gradient/linear1"
        assert single.metrics[name] == pytest.approx(double.metrics[name], rel=1e-3)
    assert torch.get_default_dtype() == torch.float32

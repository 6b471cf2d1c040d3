import math
import warnings

import lightning.pytorch as lightning
import mechanism_modules as modules
import pytest
import torch
from fused_and_unfused import train_unfused_with_model, trials_of
from slow import slow
from torch.utils.data import DataLoader, TensorDataset

from experiments.mechanisms import Mechanisms, callback
from experiments.mechanisms.probe import rebatch
from experiments.mechanisms.quantities import QUANTILES
from experiments.study.mechanisms import is_mechanism

stock = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.*is deprecated")
POINTS = {"class_path": "mechanism_modules.Numbers"}


def spec(**init_args):
    return {"class_path": "experiments.mechanisms.Mechanisms", "init_args": init_args}


def trained(name, tmp_path, callbacks=(), data=POINTS, key="model.init_args.lr", levels=(0.05, 0.1), **trainer):
    model = name if isinstance(name, dict) else {"class_path": f"mechanism_modules.{name}"}
    first, *_ = trials_of(model, list(levels), key, seeds=1, data=data, callbacks=list(callbacks), **trainer)
    return train_unfused_with_model(first, tmp_path)


def without_mechanisms(metrics):
    return {name: value for name, value in metrics.items() if not is_mechanism(name)}


def assert_nothing_else_changes(name, tmp_path, **kwargs):
    """Compare training with and without mechanisms bit for bit. Return the result with mechanisms."""
    (off, one), (on, other) = trained(name, tmp_path, **kwargs), trained(name, tmp_path, [spec()], **kwargs)
    assert off.error is None
    assert on.error is None
    assert repr([without_mechanisms(each) for each in on.epochs]) == repr([*off.epochs])  # with NaN
    assert repr(without_mechanisms(on.metrics)) == repr(dict(off.metrics))
    assert (on.status, on.diverged_epoch, on.correct) == (off.status, off.diverged_epoch, off.correct)
    for (key, mine), (_, theirs) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert mine.numpy().tobytes() == theirs.numpy().tobytes(), key
    return on


@pytest.mark.parametrize("precision", ["32-true", slow("64-true"), slow("bf16-mixed")])
def test_training_does_not_change(precision, tmp_path):
    model = {"class_path": "lit_models.MLP", "init_args": {"hidden": [8, 8], "batch_norm": True, "dropout": 0.3}}
    digits = {"class_path": "datamodules.Digits", "init_args": {"batch_size": 100}}
    kwargs = {"data": digits, "key": "model.init_args.activation", "levels": ("relu", "tanh"), "precision": precision}
    on = assert_nothing_else_changes(model, tmp_path, **kwargs)
    assert on.epochs[1]["mechanism/weight_gradient/linear1"] > 0


def test_training_of_a_module_with_side_effects_does_not_change(tmp_path):
    on = assert_nothing_else_changes("KeepsThings", tmp_path)
    assert on.metrics["mechanism/weight_norm/first"] > 0
    assert "gap/loss" in on.metrics
    assert "gap/sum" not in on.metrics


def test_training_of_a_module_that_draws_does_not_change(tmp_path):
    model = {"class_path": "user_module.DrawsEverywhere", "init_args": {"times": 2}}
    data, key = {"class_path": "user_module.UserData"}, "model.init_args.times"
    on = assert_nothing_else_changes(model, tmp_path, data=data, key=key, levels=(2, 3))
    assert on.metrics["mechanism/update_ratio/first"] > 0


def test_training_with_sparse_gradients_does_not_change(tmp_path):
    data = {"class_path": "bare_modules.TrainAndTest"}
    on = assert_nothing_else_changes({"class_path": "bare_modules.SparseWords"}, tmp_path, data=data)
    assert on.metrics["mechanism/weight_gradient/vectors"] > 0


def test_gradients_outputs_and_gap_equal_values_computed_by_hand(tmp_path):
    """Recompute the metrics from the trained module and the first batches."""
    result, model = trained("Small", tmp_path, [spec(examples=20)])
    batches = first_batches(tmp_path)
    x, y = (torch.cat(each)[:20].double() for each in zip(*batches, strict=True))
    first = model.first(x)
    act = first.relu()
    second = model.first(act)
    act2 = second.relu()
    out = model.last(act2)
    loss = ((out.squeeze(1) + 0.5 - y) ** 2).mean()
    sources = [model.first.weight, model.last.weight, first, second, act, act2, out]
    weight1, weight2, *of_outputs = torch.autograd.grad(loss, sources)
    found = result.metrics
    rms = lambda *tensors: torch.cat([t.flatten() for t in tensors]).square().mean().sqrt().item()  # noqa: E731
    expected = {
        "weight_gradient/first": rms(weight1),
        "weight_gradient/last": rms(weight2),
        "weight_gradient_ratio": rms(weight1) / rms(weight2),
        "activation_gradient/first": 20 * rms(*of_outputs[:2]),
        "activation_gradient/act": 20 * rms(*of_outputs[2:4]),
        "activation_gradient/last": 20 * rms(of_outputs[4]),
        "activation_gradient_ratio": rms(*of_outputs[:2]) / rms(of_outputs[4]),
        "activation_mean/first": (torch.cat([first, second]).mean()).item(),
        "activation_std/act": (torch.cat([act, act2]).std(correction=0)).item(),
        "activation_q50/last": (out.flatten().sort().values[round(0.5 * 19)]).item(),
        "dead/act": ((torch.cat([act, act2]) == 0).all(0).double().mean()).item(),
        "weight_norm/first": (model.first.weight.norm()).item(),
    }
    for name, value in expected.items():
        assert found[f"mechanism/{name}"] == pytest.approx(value, rel=1e-9), name
    x, y = (torch.cat(each).double() for each in zip(*batches, strict=True))
    with torch.no_grad():
        on_train = float(((model(x) - y) ** 2).mean())
    assert found["gap/loss"] == pytest.approx(found["val/loss"] - on_train, rel=1e-9)


def test_unused_layers_have_no_gradients_and_no_ratio(tmp_path):
    result, _ = trained("HalfUsed", tmp_path, [spec(measure=["gradients", "weights"])], max_epochs=1)
    found = {name.removeprefix("mechanism/"): value for name, value in result.metrics.items() if is_mechanism(name)}
    assert [name for name in found if "gradient" in name] == [
        *("weight_gradient/middle", "weight_gradient/last"),
        *("activation_gradient/middle", "activation_gradient/last"),
        *("weight_gradient_ratio", "activation_gradient_ratio"),
    ]
    for kind in ("weight", "activation"):
        ends = [found[f"{kind}_gradient/{name}"] for name in ("middle", "last")]
        assert found[f"{kind}_gradient_ratio"] == pytest.approx(ends[0] / ends[1], rel=1e-12)
    assert {name for name in found if name.startswith("weight_norm/")} == {
        f"weight_norm/{name}" for name in ("first", "beside", "middle", "last", "unused")
    }


@pytest.mark.parametrize(
    ("name", "ends"), [("OwnHead", ("first", "middle")), ("OwnWeights", ("one", "two")), ("Small", ("first", "last"))]
)
def test_a_ratio_uses_weights_with_a_known_position(name, ends, tmp_path):
    result, _ = trained(name, tmp_path, [spec(measure=["gradients"])], max_epochs=1)
    one, other = (result.metrics[f"mechanism/weight_gradient/{end}"] for end in ends)
    assert result.metrics["mechanism/weight_gradient_ratio"] == pytest.approx(one / other, rel=1e-12)


def test_drift_starts_in_the_first_epoch_of_each_training(tmp_path):
    result, _ = trained("Small", tmp_path, [spec(measure=["activations"])], max_epochs=2)
    first, second = result.epochs
    lows, middles, highs = ([epoch[f"mechanism/activation_{q}/act"] for epoch in (first, second)] for q in QUANTILES)
    moved = sum(abs(after - before) for before, after in (lows, middles, highs)) / 3
    assert first["mechanism/activation_drift/act"] == 0.0
    assert second["mechanism/activation_drift/act"] == pytest.approx(moved / (highs[0] - lows[0]), rel=1e-12)
    assert second["mechanism/activation_drift/act"] > 0


def test_a_single_layer_is_not_compared_with_itself(tmp_path):
    perceptron = {"class_path": "lit_models.MLP", "init_args": {"hidden": []}}
    kwargs = {"data": None, "key": "model.init_args.init", "levels": ("xavier", "he"), "max_epochs": 1}
    result, _ = trained(perceptron, tmp_path, [spec(measure=["gradients"])], **kwargs)
    assert [name for name in result.metrics if is_mechanism(name)] == [
        "mechanism/weight_gradient/output",
        "mechanism/activation_gradient/output",
    ]


@stock
@pytest.mark.filterwarnings("ignore:.*returned `None`")
def test_an_epoch_without_a_last_loss_has_no_update_ratio(tmp_path):
    trainer = lightning.Trainer(**QUIET, default_root_dir=tmp_path, max_epochs=1, callbacks=[Mechanisms(["updates"])])
    trainer.fit(modules.SkipsLast(), modules.Numbers())
    assert not [name for name in trainer.callback_metrics if is_mechanism(name)]


@pytest.mark.parametrize(("num_validated", "num_compared"), [(20, 250), (540, 500), (3000, 1000)])
def test_the_gap_uses_about_as_many_training_examples(num_validated, num_compared, monkeypatch):
    sizes = []
    real = callback.measure_validation

    def counted(clone, batches, context):
        sizes.append(sum(len(x) for x, _ in batches))
        return real(clone, batches, context)

    monkeypatch.setattr(callback, "measure_validation", counted)
    trainer = lightning.Trainer(**QUIET, max_epochs=2, num_sanity_val_steps=1, callbacks=[Mechanisms(["gap"])])
    draws = lambda number: DataLoader(TensorDataset(torch.randn(number, 4), torch.randn(number)), 200)  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(modules.Small(), draws(1200), draws(num_validated))
    assert sizes == [num_compared] * 2
    assert "gap/loss" in trainer.callback_metrics


def first_batches(tmp_path):
    """Return the batches of the first epoch, as a callback gets them."""
    seen = []

    with pytest.MonkeyPatch.context() as patch:
        real = callback.FirstExamples.add
        patch.setattr(callback.FirstExamples, "add", lambda self, batch: seen.append(batch) or real(self, batch))
        trained("Small", tmp_path, [spec()], max_epochs=1)
    return seen


@stock
def test_the_update_ratio_is_of_the_last_step(tmp_path):
    states = []

    class Keeps(modules.Small):
        def on_train_batch_start(self, batch, batch_idx):
            states.append(self.first.weight.detach().clone())

    trainer = lightning.Trainer(
        **QUIET, default_root_dir=tmp_path, max_epochs=1, callbacks=[Mechanisms(["updates"]), Mechanisms(["weights"])]
    )
    model = Keeps()
    trainer.fit(model, modules.Numbers())
    before, after = states[-1], model.first.weight.detach()
    ratio = float((after - before).double().norm() / before.double().norm())
    assert float(trainer.callback_metrics["mechanism/update_ratio/first"]) == pytest.approx(ratio, rel=1e-6)


QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


@stock
def test_stock_callbacks_may_monitor_mechanism_metrics(tmp_path):
    stop = lightning.callbacks.EarlyStopping("mechanism/weight_norm/first", stopping_threshold=1e9, mode="min")
    trainer = lightning.Trainer(**QUIET, default_root_dir=tmp_path, max_epochs=5, callbacks=[Mechanisms(), stop])
    trainer.fit(modules.Small(), modules.Numbers())
    assert trainer.current_epoch == 1


def test_metrics_are_ordered_by_quantity_and_data_flow(tmp_path):
    result, _ = trained("Small", tmp_path, [spec(measure=["dead", "weights", "gradients"])])
    names = [name.removeprefix("mechanism/") for name in result.epochs[0] if is_mechanism(name)]
    assert names == [
        *("weight_gradient/first", "weight_gradient/last"),
        *("activation_gradient/first", "activation_gradient/act", "activation_gradient/last"),
        *("weight_gradient_ratio", "activation_gradient_ratio"),
        "dead/act",
        *("weight_norm/first", "weight_norm/last"),
    ]


def test_saturation_and_dead_units_are_measured_by_activation(tmp_path):
    model = {"class_path": "lit_models.MLP", "init_args": {"hidden": [4]}}
    told = {}
    for activation in ("sigmoid", "tanh", "relu", "prelu"):
        result, _ = trained(
            model,
            tmp_path,
            [spec(measure=["dead", "saturation"])],
            data=None,
            key="model.init_args.activation",
            levels=(activation, "elu"),
            max_epochs=1,
        )
        told[activation] = [name.split("/")[1] for name in result.metrics if is_mechanism(name)]
    assert told == {"sigmoid": ["saturated"], "tanh": ["saturated"], "relu": ["dead"], "prelu": ["dead"]}


def test_the_probe_does_not_depend_on_the_batch_size(tmp_path):
    found = []
    for size in (8, 30):
        data = POINTS | {"init_args": {"batch_size": size}}
        result, _ = trained("Small", tmp_path, [spec(examples=24)], data=data, levels=(0.0, 0.1), max_epochs=1)
        found.append(result.metrics["mechanism/weight_gradient/first"])
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_only_epochs_with_validation_have_a_gap(tmp_path):
    data = {"class_path": "bare_modules.TrainAndTest"}
    model = {"class_path": "bare_modules.SparseWords"}
    result, _ = trained(model, tmp_path, [spec()], data=data)
    assert not [name for name in result.metrics if name.startswith("gap/")]
    assert "mechanism/weight_norm/vectors" in result.metrics
    result, _ = trained("Small", tmp_path, [spec()], check_val_every_n_epoch=2, max_epochs=3)
    assert ["gap/loss" in epoch for epoch in result.epochs] == [False, True, False]


@pytest.fixture
def no_warnings_yet(monkeypatch):
    monkeypatch.setattr(callback, "_warned", set())


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("ByHand", POINTS, "it uses manual optimization, so its training_step cannot run without training"),
        ("RaisesOnCopies", POINTS, "TypeError: this module is one of a kind"),
        (
            "ReadsOdd",
            {"class_path": "mechanism_modules.OddBatches"},
            "its batches are of type Odd; tensors are expected",
        ),
    ],
)
def test_unmeasurable_modules_train_and_warn_once(name, data, reason, tmp_path, no_warnings_yet):
    with pytest.warns(UserWarning, match=f"mechanisms of {name} cannot be measured") as said:
        result, _ = trained(name, tmp_path, [spec(measure=["weights"])], data=data, precision="32-true")
    assert result.error is None
    assert result.status == "finished"
    assert [str(each.message).partition("trains without: ")[2] for each in said] == [reason]
    assert not [name for name in result.metrics if is_mechanism(name)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(name, tmp_path, [spec(measure=["weights"])], data=data, precision="32-true")


def test_a_nan_gradient_is_logged_and_training_goes_on(tmp_path):
    result = assert_nothing_else_changes("Explodes", tmp_path, max_epochs=3)
    assert result.status == "finished"
    assert [math.isfinite(epoch["mechanism/weight_gradient/last"]) for epoch in result.epochs] == [True, False, True]


def test_a_diverged_trial_keeps_its_result(tmp_path):
    model = {"class_path": "user_module.UserModule", "init_args": {"fails": "diverges"}}
    kwargs = {"data": {"class_path": "user_module.UserData"}, "max_epochs": 4}
    result = assert_nothing_else_changes(model, tmp_path, **kwargs)
    assert (result.status, result.diverged_epoch) == ("diverged", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measure": ["gradient"]}, "Mechanisms: measure: 'gradient' is no quantity; did you mean 'gradients'?"),
        ({"measure": []}, r"Mechanisms: measure: is \[\]; all, a list of gradients, "),
        ({"examples": 0}, "Mechanisms: examples is 0; a number of examples, at least 1, is expected"),
    ],
)
def test_invalid_arguments_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mechanisms(**arguments)


def test_gradients_vanish_with_sigmoid_and_not_with_relu(tmp_path):
    found = {}
    for activation, init in (("sigmoid", "xavier"), ("relu", "he")):
        init_args = {"hidden": [32] * 7, "activation": activation, "optimizer": SLOW}
        model = {"class_path": "lit_models.MLP", "init_args": init_args}
        kwargs = {"data": None, "key": "model.init_args.init", "levels": (init, "default"), "max_epochs": 1}
        result, _ = trained(model, tmp_path, [spec(measure=["gradients"])], **kwargs)
        found[activation] = result.metrics["mechanism/weight_gradient_ratio"]
    assert found["sigmoid"] < 1e-3
    assert found["relu"] > 1e-1


SLOW = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-4}}


def test_batches_of_a_trainer_are_concatenated(tmp_path):
    batches = first_batches(tmp_path)
    (whole,) = rebatch(batches, 60, 60)
    assert whole[0].shape == (60, 4)

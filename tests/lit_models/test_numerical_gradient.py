"""A network with gradients by finite differences, in stock Lightning."""

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from datamodules import Digits
from lit_models import NumericalGradientMLP

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),  # the data are in memory
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated"),  # Lightning with torch 2.14
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
]

SIZES = {"input_shape": (1, 8, 8), "num_classes": 10}
NUM_PARAMETERS = 64 * 2 + 2 + 2 * 10 + 10


@pytest.fixture(autouse=True)
def no_seed_left(monkeypatch):
    """Restore the environment variables that seed_everything sets."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


def fitted(gradient, **options):
    seed_everything(0, verbose=False)
    model = NumericalGradientMLP([2], gradient=gradient, activation="tanh", **SIZES)
    trainer = Trainer(
        **{"max_steps": 4, "precision": "64-true", "accelerator": "cpu", "logger": False} | options,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(model, datamodule=Digits(batch_size=32, train_size=128, seed=0))
    return model, {name: value.item() for name, value in trainer.callback_metrics.items()}


def test_three_gradients_train_alike_and_cost_one_n_plus_one_and_two_n_evaluations():
    by = {name: fitted(name) for name in ("backprop", "forward_differences", "central_differences")}
    metrics = {name: found for name, (_, found) in by.items()}
    assert [found["gradient/evaluations"] for found in metrics.values()] == [1, NUM_PARAMETERS + 1, 2 * NUM_PARAMETERS]
    assert metrics["backprop"]["gradient/relative_error"] == 0
    assert 0 < metrics["forward_differences"]["gradient/relative_error"] < 1e-5
    assert 0 < metrics["central_differences"]["gradient/relative_error"] < 1e-7
    assert all(found["gradient/seconds"] > 0 for found in metrics.values())
    for name in ("forward_differences", "central_differences"):
        assert metrics[name]["train/loss"] == pytest.approx(metrics["backprop"]["train/loss"], rel=1e-6)
        for one, other in zip(by["backprop"][0].parameters(), by[name][0].parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_differences_put_every_parameter_back():
    model = NumericalGradientMLP([2], gradient="central_differences", **SIZES).double()
    before = [parameter.clone() for parameter in model.parameters()]
    model.log_dict = lambda *_, **__: None
    batch = torch.randn(5, 1, 8, 8, dtype=torch.float64), torch.arange(5)
    model.on_train_batch_start(batch, 0)
    model.backward(model.training_step(batch, 0))
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_in_single_precision_differences_are_right_to_two_digits():
    _, metrics = fitted("central_differences", precision="32-true")
    assert 1e-7 < metrics["gradient/relative_error"] < 0.02


def test_accumulated_gradients_are_refused():
    with pytest.raises(
        ValueError, match="NumericalGradientMLP: the trainer's accumulate_grad_batches is 2; accepted: 1"
    ):
        fitted("backprop", accumulate_grad_batches=2)


def test_a_method_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'forward_differences'"):
        NumericalGradientMLP(gradient="forward_difference", **SIZES)

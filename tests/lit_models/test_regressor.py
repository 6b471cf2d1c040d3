import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from datamodules import Diabetes
from lit_models import MLPRegressor, r2, rmse

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),  # the data are in memory
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated"),  # Lightning with torch 2.14
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
]


def fitted(model, data, max_epochs=1):
    trainer = Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    return trainer, trainer.test(model, datamodule=data, verbose=False)[0]


def test_metrics_are_those_of_the_whole_split():
    data, model = Diabetes(seed=1, eval_batch_size=10), MLPRegressor(hidden=[5])
    trainer, tested = fitted(model, data)
    for split, indices in (("val", data.split.val), ("test", data.split.test)):
        inputs, target = data.make_examples()[indices]
        predictions = model.eval()(inputs).detach()
        found = trainer.validate(model, datamodule=data, verbose=False)[0] if split == "val" else tested
        expected = {
            "loss": (predictions - target).square().mean().item(),
            "mae": mean_absolute_error(target, predictions),
            "rmse": root_mean_squared_error(target, predictions),
            "r2": r2_score(target, predictions),
        }
        assert found == pytest.approx({f"{split}/{name}": value for name, value in expected.items()}, rel=1e-5)


@pytest.mark.slow
def test_without_hidden_layers_full_batches_converge_to_least_squares():
    data = Diabetes(batch_size="all", seed=1)
    model = MLPRegressor(hidden=[], optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9))
    fitted(model, data, max_epochs=400)
    inputs, target = data.make_examples()[data.split.train]
    expected = LinearRegression().fit(inputs, target)
    found = model.eval()(inputs).detach()
    assert r2_score(target, found) == pytest.approx(expected.score(inputs, target), abs=1e-3)


def test_r2_of_several_numbers_is_the_mean_over_them():
    generator = torch.Generator().manual_seed(0)
    predictions, target = torch.randn(9, 3, generator=generator), torch.randn(9, 3, generator=generator)
    assert r2(predictions, target).item() == pytest.approx(r2_score(target, predictions), rel=1e-5)
    assert rmse(predictions, target).item() == pytest.approx((predictions - target).square().mean().sqrt().item())


def test_r2_of_equal_targets_is_not_defined():
    assert r2(torch.tensor([[1.0], [2.0]]), torch.ones(2, 1)).isnan()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.zeros(4, 2), r"the target is \(4, 2\), and the predictions are \(4, 1\); accepted: a number for each "),
        (torch.zeros(4, dtype=torch.int64), "the target is torch.int64; accepted: floating-point numbers"),
    ],
)
def test_targets_that_are_not_the_numbers_to_predict(target, message):
    model = MLPRegressor(input_shape=(3,), num_outputs=1)
    model.log_dict = lambda *_, **__: None
    with pytest.raises(ValueError, match=f"^MLPRegressor: {message}"):
        model.training_step((torch.zeros(4, 3), target), 0)


def test_a_data_module_without_outputs_raises_with_advice():
    class Numberless(Diabetes):
        num_outputs = None

    with pytest.raises(RuntimeError, match="Numberless has no num_outputs; add the attribute, such as `num_o"):
        fitted(MLPRegressor(), Numberless(seed=1))


@pytest.mark.parametrize("loss", ["mean", {"cross_entropy": 1.0}])
def test_losses_of_classes_are_none_of_numbers(loss):
    with pytest.raises(ValueError, match=r"^MLPRegressor: loss is '.*'; accepted: 'mse', 'l1', 'huber'"):
        MLPRegressor(loss=loss)

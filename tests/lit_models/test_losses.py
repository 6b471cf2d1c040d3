"""Losses against their formulas, by hand or by scikit-learn, for both heads."""

import pytest
import torch
from sklearn.metrics import brier_score_loss
from torch import nn
from torch.func import vmap

from lit_models import MLP, Perceptron
from lit_models.losses import Loss, RegressionLoss, classification_loss, parse_loss_weights, regression_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [4.0, 4.0, 4.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
TARGET = torch.tensor([0, 2, 1, 2])
ONE_HOT = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
P = LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
SIGMOID = 1 / (1 + (-LOGITS).exp())

EXPECTED = {
    "cross_entropy": -(P * ONE_HOT).sum(1).log().mean(),
    "nll": -(P * ONE_HOT).sum(1).log().mean(),
    "mse": ((P - ONE_HOT) ** 2).sum() / 12,
    "l1": (P - ONE_HOT).abs().sum() / 12,
    "bce": -(ONE_HOT * SIGMOID.log() + (1 - ONE_HOT) * (1 - SIGMOID).log()).sum() / 12,
}


def silent(model):
    logged = {}
    model.log_dict = lambda metrics, **options: logged.update(metrics)
    return model, logged


def of(loss, logits=LOGITS, target=TARGET, has_one_logit=False):
    return classification_loss(parse_loss_weights("MLP", loss, Loss), logits, target, has_one_logit=has_one_logit)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_loss_is_its_formula(name):
    torch.testing.assert_close(of(name), EXPECTED[name], rtol=1e-13, atol=0)


def test_mse_is_the_brier_score_by_the_number_of_classes():
    two = LOGITS[:, :2]
    target = torch.tensor([0, 1, 1, 0])
    expected = brier_score_loss(target, two.softmax(1)[:, 1].numpy())  # of one class; of both it is twice as much
    assert of("mse", two, target).item() == pytest.approx(expected, rel=1e-12)


def test_nll_and_cross_entropy_are_two_names_of_one_loss():
    gradients = []
    for name in ("nll", "cross_entropy"):
        logits = LOGITS.clone().requires_grad_()
        of(name, logits).backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


def test_two_losses_are_added_with_their_weights():
    expected = 0.7 * EXPECTED["cross_entropy"] + 0.3 * EXPECTED["mse"]
    torch.testing.assert_close(of({"cross_entropy": 0.7, "mse": 0.3}), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", ["bce", "cross_entropy", "nll"])
def test_of_one_logit_three_losses_are_one(name):
    z, target = LOGITS[:, :1], torch.tensor([0, 1, 1, 0])
    expected = nn.functional.binary_cross_entropy_with_logits(z[:, 0], target.double())
    logits = nn.functional.pad(z, (1, 0))
    torch.testing.assert_close(of(name, logits, target, has_one_logit=True), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", ["mse", "l1"])
def test_of_one_logit_probabilities_are_those_of_the_sigmoid(name):
    z, target = LOGITS[:, 0], torch.tensor([0, 1, 1, 0])
    error = z.sigmoid() - target
    expected = error.square().mean() if name == "mse" else error.abs().mean()
    logits = nn.functional.pad(z.unsqueeze(1), (1, 0))
    torch.testing.assert_close(of(name, logits, target, has_one_logit=True), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_far_from_the_border_are_finite_and_so_are_their_gradients(name):
    logits = torch.tensor([[800.0, -800.0]], requires_grad=True)
    loss = of(name, logits, torch.tensor([1]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_run_on_stacked_copies(name):
    many, targets = torch.stack([LOGITS, LOGITS.flip(0)]), torch.stack([TARGET, TARGET])
    together = vmap(lambda logits, target: of(name, logits, target))(many, targets)
    torch.testing.assert_close(together[0], EXPECTED[name])
    torch.testing.assert_close(together[1], of(name, many[1]))


@pytest.mark.parametrize(
    ("name", "expected"), [("mse", (0.25 + 0 + 9) / 3), ("l1", (0.5 + 0 + 3) / 3), ("huber", (0.125 + 0 + 2.5) / 3)]
)
def test_losses_of_numbers(name, expected):
    predictions, target = torch.tensor([[0.5], [1.0], [-2.0]]), torch.tensor([[0.0], [1.0], [1.0]])
    found = regression_loss(parse_loss_weights("MLPRegressor", name, RegressionLoss), predictions, target)
    assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["mse", "l1", "huber"])
def test_losses_of_numbers_are_those_of_torch_with_their_gradients(name):
    generator = torch.Generator().manual_seed(0)
    predictions = (2 * torch.randn(50, 2, dtype=torch.float64, generator=generator)).requires_grad_()
    target = torch.randn(50, 2, dtype=torch.float64, generator=generator)
    found = regression_loss({name: 1.0}, predictions, target)
    expected = getattr(nn.functional, f"{name}_loss")(predictions, target)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    gradients = [torch.autograd.grad(loss, predictions)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["mse", "l1", "huber"])
def test_losses_of_numbers_run_on_rows_and_columns_of_copies_that_share_a_target(name):
    generator = torch.Generator().manual_seed(0)
    predictions, target = torch.randn(2, 3, 5, 1, generator=generator), torch.randn(2, 5, 1, generator=generator)
    weights = {name: 1.0}
    of_columns = vmap(lambda one, shared: regression_loss(weights, one, shared), in_dims=(0, None))
    found = vmap(of_columns)(predictions, target)
    for row in range(2):
        for column in range(3):
            expected = regression_loss(weights, predictions[row, column], target[row])
            torch.testing.assert_close(found[row, column], expected)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("mes", "MLP: loss is 'mes'; accepted: 'cross_entropy', 'nll', 'mse', 'l1', 'bce'; did you mean 'mse'?"),
        ({}, "MLP: loss is {}; accepted: 'cross_entropy', 'nll', 'mse', 'l1', 'bce', or weights of them"),
        ({"mse": 0}, "MLP: loss.mse is 0; accepted: a number above 0"),
        ({"mse": True}, "MLP: loss.mse is True; accepted: a number above 0"),
        ({"mse": float("inf")}, "MLP: loss.mse is inf; accepted: a number above 0"),
        ({"huber": 1.0}, "MLP: loss is 'huber'; accepted: 'cross_entropy', 'nll', 'mse', 'l1', 'bce'"),
    ],
)
def test_losses_that_are_not_accepted(loss, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        MLP(loss=loss)
    assert str(error.value).startswith(message)


# --- in a classifier ---


@pytest.mark.parametrize("loss", ["mse", "bce", {"cross_entropy": 0.5, "l1": 2.0}])
def test_every_split_logs_the_loss_and_once_one_is_named_the_cross_entropy(loss):
    torch.manual_seed(0)
    model, logged = silent(MLP(hidden=[5], loss=loss, input_shape=(4,), num_classes=3))
    inputs, target = torch.randn(8, 4), torch.arange(8) % 3
    logits = model(inputs)
    for split, step in [("train", model.training_step), ("val", model.validation_step), ("test", model.test_step)]:
        step((inputs, target), 0)
        torch.testing.assert_close(logged[f"{split}/loss"], of(loss, logits, target))
        torch.testing.assert_close(logged[f"{split}/cross_entropy"], nn.functional.cross_entropy(logits, target))


def test_cross_entropy_that_is_named_is_logged_under_both_names_and_else_under_one():
    batch = torch.ones(2, 4), torch.tensor([0, 1])
    named, logged = silent(Perceptron(loss="cross_entropy", input_shape=(4,), num_classes=2))
    named.validation_step(batch, 0)
    assert logged["val/loss"] == logged["val/cross_entropy"]
    plain, logged = silent(Perceptron(input_shape=(4,), num_classes=2))
    plain.validation_step(batch, 0)
    assert logged.keys() == {"val/loss", "val/acc"}

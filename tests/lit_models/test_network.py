"""Penalties, checks of data and unknown arguments, for networks of every task."""

import copy

import pytest
import torch

from datamodules import Diabetes, Digits
from lit_models import MLP, ConvNet, MLPRegressor, Perceptron, Recurrent

SIZES = {"input_shape": (4,), "num_classes": 3}


def made(**options):
    torch.manual_seed(0)
    model = MLP(hidden=[5], batch_norm=True, activation="prelu", **options, **SIZES).double()
    logged = {}
    model.log_dict = lambda metrics, **_: logged.update(metrics)
    return model, logged


BATCH = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


def test_penalties_apply_to_weights_and_to_the_training_loss_only():
    model, logged = made(l1=0.01, l2=0.5)
    plain, without = made()
    weights = [model.layers.linear1.weight, model.layers.output.weight]
    rate = torch.tensor(0.01, dtype=torch.float32).double()  # as the buffer has it
    expected = rate * sum(w.abs().sum() for w in weights) + 0.25 * sum((w**2).sum() for w in weights)
    loss = model.training_step(BATCH, 0)
    torch.testing.assert_close(logged["train/penalty"], expected)
    torch.testing.assert_close(loss, plain.training_step(BATCH, 0) + expected)
    torch.testing.assert_close(logged["train/loss"], without["train/loss"])
    model.validation_step(BATCH, 0)
    plain.validation_step(BATCH, 0)
    torch.testing.assert_close(logged["val/loss"], without["val/loss"])
    assert "train/penalty" not in without


def test_the_gradient_of_l1_is_the_sign_of_weights_and_zero_for_biases():
    model, _ = made(l1=0.5)
    plain, _ = made()
    model.training_step(BATCH, 0).backward()
    plain.training_step(BATCH, 0).backward()
    for (name, one), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        pull = 0.5 * one.detach().sign() if one.dim() > 1 else torch.zeros_like(one)
        torch.testing.assert_close(one.grad, other.grad + pull, msg=name)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_l2_is_the_weight_decay_of_sgd_and_adam_but_not_of_adamw(kind):
    torch.manual_seed(0)
    penalised = Perceptron(l2=0.25, **SIZES).double()
    decayed = Perceptron(**SIZES).double()
    decayed.load_state_dict(penalised.state_dict())
    decoupled = copy.deepcopy(decayed)
    optimizers = [
        kind(penalised.parameters(), lr=0.1),
        kind(decayed.parameters(), lr=0.1, weight_decay=0.25),
        torch.optim.AdamW(decoupled.parameters(), lr=0.1, weight_decay=0.25),
    ]
    models = penalised, decayed, decoupled
    for model, optimizer in zip(models, optimizers, strict=True):
        model.log_dict = lambda *_, **__: None
        model.layers.output.bias.requires_grad_(False)  # weight_decay takes biases too
        for _ in range(3):
            optimizer.zero_grad()
            model.training_step(BATCH, 0).backward()
            optimizer.step()
    weights = [model.layers.output.weight for model in models]
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-12, atol=1e-14)
    assert (weights[0] - weights[2]).abs().max() > 1e-3


def test_checkpoints_have_penalties_as_hyperparameters_only():
    model, _ = made(l1=0.01)
    assert "penalties" not in model.state_dict()
    assert (model.hparams["l1"], model.hparams["l2"]) == (0.01, None)


@pytest.mark.parametrize("name", ["l1", "l2"])
@pytest.mark.parametrize("value", [-0.1, float("inf"), "much", True])
def test_penalties_that_are_not_accepted(name, value):
    expected = f"MLP: {name} is {value!r}; accepted: a number of at least 0, or None for no penalty"
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        MLP(**{name: value})
    assert str(error.value) == expected


def test_word_vectors_and_recurrent_weights_are_penalised_too():
    model = Recurrent(hidden_size=3, embedding_size=2, l1=1.0, input_shape=(4,), num_classes=2, vocabulary_size=5)
    logged = {}
    model.log_dict = lambda metrics, **_: logged.update(metrics)
    model.training_step((torch.tensor([[1, 2, 0, 0]]), torch.tensor([1])), 0)
    expected = sum(parameter.abs().sum() for parameter in model.parameters() if parameter.dim() == 2)
    torch.testing.assert_close(logged["train/penalty"], expected)


def test_batch_norm_over_batches_of_one_example_is_refused():
    message = (
        "MLP: batch_norm compares the examples of a batch, and Digits has batch_size 1; "
        "accepted: batches of at least 2, or batch_norm false"
    )
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        MLP(batch_norm=True, **SIZES).check_data(Digits(batch_size=1, seed=1))
    assert str(error.value) == message
    MLP(batch_norm=True, **SIZES).check_data(Digits(batch_size=2, seed=1))
    MLP(**SIZES).check_data(Digits(batch_size=1, seed=1))


def test_batch_norm_over_the_pixels_of_one_image_is_not():
    model = ConvNet([2], kernel_size=3, batch_norm=True, input_shape=(1, 8, 8), num_classes=10)
    model.check_data(Digits(batch_size=1, seed=1))
    model.log_dict = lambda *_, **__: None
    model.training_step((torch.randn(1, 1, 8, 8), torch.tensor([3])), 0).backward()
    assert model.layers.features.conv1.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (
            MLP(),
            Diabetes(seed=1),
            "MLP predicts classes, and the targets of Diabetes are numbers; lit_models.MLPRegressor predicts numbers",
        ),
        (
            MLPRegressor(num_outputs=1),
            Digits(seed=1),
            "MLPRegressor predicts numbers, and the targets of Digits are classes; lit_models.MLP predicts classes",
        ),
    ],
)
def test_targets_of_another_kind_raise_before_training(model, data, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        model.check_data(data)


def test_targets_of_the_kind_that_is_predicted_are_accepted():
    MLP().check_data(Digits(seed=1))
    MLPRegressor().check_data(Diabetes(seed=1))
    MLP().check_data(object())


def test_an_unknown_argument_raises_in_the_constructor():
    with pytest.raises(TypeError, match=r"^MLP: there is no argument 'hiden'; did you mean 'hidden'\?$"):
        MLP(hiden=[3])
    with pytest.raises(TypeError, match=r"^Perceptron: there is no argument 'vocabulary_size'$"):
        Perceptron(vocabulary_size=3)

import pytest
import torch
from torch import nn

from lit_models import MLP, Perceptron


def names(**ingredients):
    model = MLP(**{"hidden": [6, 5], **ingredients}, input_shape=(4,), num_classes=3)
    return [name for name, _ in model.named_parameters()]


PLAIN = [
    "layers.linear1.weight",
    "layers.linear1.bias",
    "layers.linear2.weight",
    "layers.linear2.bias",
    "layers.output.weight",
    "layers.output.bias",
]


def test_parameters_are_named_by_kind_and_number():
    assert names() == PLAIN


@pytest.mark.parametrize(
    ("ingredients", "added"),
    [
        ({"dropout": 0.5}, []),
        ({"activation": "tanh"}, []),
        ({"init": "normal"}, []),
        ({"activation": "prelu"}, ["layers.activation1.weight", "layers.activation2.weight"]),
        (
            {"batch_norm": True, "dropout": 0.5},
            ["layers.norm1.weight", "layers.norm1.bias", "layers.norm2.weight", "layers.norm2.bias"],
        ),
        ({"hidden": [6, 5, 4]}, ["layers.linear3.weight", "layers.linear3.bias"]),
    ],
)
def test_an_ingredient_renames_no_other_parameter(ingredients, added):
    assert sorted(names(**ingredients)) == sorted(PLAIN + added)


def test_removing_a_layer_renames_no_other_parameter():
    assert names(hidden=[6]) == [name for name in PLAIN if "linear2" not in name]


def test_a_hidden_layer_is_linear_norm_activation_dropout():
    layers = MLP(hidden=[6], activation="elu", dropout=0.25, batch_norm=True, input_shape=(2, 2), num_classes=3).layers
    assert [(name, type(layer)) for name, layer in layers.named_children()] == [
        ("flatten", nn.Flatten),
        ("linear1", nn.Linear),
        ("norm1", nn.BatchNorm1d),
        ("activation1", nn.ELU),
        ("dropout1", nn.Dropout),
        ("output", nn.Linear),
    ]
    assert layers.dropout1.p == 0.25


def test_without_hidden_layers_it_is_the_perceptron():
    torch.manual_seed(0)
    mlp = MLP(hidden=[], input_shape=(2, 3), num_classes=4)
    torch.manual_seed(0)
    perceptron = Perceptron(input_shape=(2, 3), num_classes=4)
    inputs = torch.randn(5, 2, 3)
    assert torch.equal(mlp(inputs), perceptron(inputs))
    assert list(mlp.state_dict()) == list(perceptron.state_dict()) == ["layers.output.weight", "layers.output.bias"]


def test_the_perceptron_is_linear_in_the_flattened_input():
    model = Perceptron(input_shape=(2, 3), num_classes=4)
    inputs = torch.randn(5, 2, 3)
    torch.testing.assert_close(
        model(inputs), inputs.reshape(5, 6) @ model.layers.output.weight.T + model.layers.output.bias
    )


def test_init_reaches_the_perceptron():
    output = Perceptron(init="normal", input_shape=(400,), num_classes=400).layers.output
    assert output.weight.std().item() == pytest.approx(1.0, rel=0.02)
    assert output.bias.abs().max() == 0


def test_init_reaches_hidden_and_output_layers():
    model = MLP(init="normal", hidden=[400], input_shape=(400,), num_classes=400)
    for layer in (model.layers.linear1, model.layers.output):
        assert layer.weight.std().item() == pytest.approx(1.0, rel=0.02)
        assert layer.bias.abs().max() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": [128, 0]}, "MLP: hidden is [128, 0]; accepted: a list of integers, each at least 1"),
        ({"hidden": [True]}, "MLP: hidden is [True]; accepted: a list of integers, each at least 1"),
        ({"hidden": 128}, "MLP: hidden is 128; accepted: a list of integers, each at least 1"),
        ({"dropout": 1.0}, "MLP: dropout is 1.0; accepted: a number from 0 up to, not including, 1"),
        ({"dropout": -0.1}, "MLP: dropout is -0.1; accepted: a number from 0 up to, not including, 1"),
        ({"dropout": True}, "MLP: dropout is True; accepted: a number from 0 up to, not including, 1"),
        ({"dropout": float("nan")}, "MLP: dropout is nan; accepted: a number from 0 up to, not including, 1"),
        (
            {"init": "hee"},
            (
                "MLP: init is 'hee'; accepted: 'default', 'normal', 'xavier', 'xavier_uniform', 'xavier_normal', 'he', "
                "'he_uniform', 'he_normal', 'rbm'; did you mean 'he'?"
            ),
        ),
        (
            {"activation": "Relu"},
            (
                "MLP: activation is 'Relu'; accepted: 'identity', 'sigmoid', 'tanh', 'relu', 'leaky_relu', 'prelu', "
                "'elu', 'gelu', 'silu'; did you mean 'relu'?"
            ),
        ),
    ],
)
def test_arguments_out_of_range_raise_in_the_constructor(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        MLP(**arguments)
    assert str(error.value) == message


def test_messages_name_the_subclass():
    class Wide(MLP):
        pass

    with pytest.raises(ValueError, match=r"^Wide: hidden is "):
        Wide(hidden=[-1])

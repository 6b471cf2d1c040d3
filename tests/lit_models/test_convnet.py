import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lit_models import MLP, ConvNet, Perceptron, conv_size

MNIST_SIZES = {"input_shape": (1, 28, 28), "num_classes": 10}


def names(**ingredients):
    model = ConvNet(**{"filters": [4, 6], "hidden": [8], **ingredients}, **MNIST_SIZES)
    return [name for name, _ in model.named_parameters()]


PLAIN = [
    "layers.features.conv1.weight",
    "layers.features.conv1.bias",
    "layers.features.conv2.weight",
    "layers.features.conv2.bias",
    "layers.head.linear1.weight",
    "layers.head.linear1.bias",
    "layers.head.output.weight",
    "layers.head.output.bias",
]


@given(
    size=st.integers(1, 20),
    kernel_size=st.integers(1, 7),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
)
def test_conv_size_is_that_of_torch(size, kernel_size, stride, padding):
    expected = conv_size(size, kernel_size, stride, padding)
    convolution = nn.Conv1d(1, 1, kernel_size, stride, padding)
    if expected < 1:
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            convolution(torch.zeros(1, 1, size))
    else:
        assert convolution(torch.zeros(1, 1, size)).shape[-1] == expected


def test_parameters_are_named_by_kind_and_number():
    assert names() == PLAIN


@pytest.mark.parametrize(
    ("ingredients", "added"),
    [
        ({"dropout": 0.5, "pool": "avg"}, []),
        ({"pool": "none", "activation": "tanh", "init": "he"}, []),
        (
            {"batch_norm": True},
            [
                f"layers.{place}.{kind}"
                for place in ("features.norm1", "features.norm2", "head.norm1")
                for kind in ("weight", "bias")
            ],
        ),
        (
            {"filters": [4, 6, 8], "padding": 2},
            ["layers.features.conv3.weight", "layers.features.conv3.bias"],
        ),
    ],
)
def test_an_ingredient_renames_no_other_parameter(ingredients, added):
    assert sorted(names(**ingredients)) == sorted(PLAIN + added)


def test_a_block_is_convolution_norm_activation_pooling_dropout():
    model = ConvNet(filters=[4], pool="avg", pool_size=3, batch_norm=True, dropout=0.25, **MNIST_SIZES)
    assert [(name, type(layer)) for name, layer in model.layers.features.named_children()] == [
        ("conv1", nn.Conv2d),
        ("norm1", nn.BatchNorm2d),
        ("activation1", nn.ReLU),
        ("pool1", nn.AvgPool2d),
        ("dropout1", nn.Dropout),
    ]
    assert model.layers.features(torch.zeros(2, 1, 28, 28)).shape == (2, 4, 8, 8)


def test_settings_may_differ_by_layer():
    model = ConvNet(filters=[4, 6], kernel_size=[5, 3], stride=[1, 2], padding=[2, 0], pool="none", **MNIST_SIZES)
    first, second = model.layers.features.conv1, model.layers.features.conv2
    assert (first.kernel_size, first.stride, first.padding) == ((5, 5), (1, 1), (2, 2))
    assert (second.kernel_size, second.stride, second.padding) == ((3, 3), (2, 2), (0, 0))


def test_sides_may_differ_and_images_have_channels():
    model = ConvNet(filters=[4], kernel_size=3, input_shape=(3, 8, 20), num_classes=2)
    assert model(torch.zeros(5, 3, 8, 20)).shape == (5, 2)
    assert model.layers.head.output.in_features == 4 * 3 * 9


def test_without_filters_it_is_a_multilayer_perceptron():
    model = ConvNet(filters=[], hidden=[5], **MNIST_SIZES)
    assert [name for name, _ in model.named_parameters()] == [name for name in PLAIN if "conv" not in name]


@pytest.mark.parametrize("init", ["normal", "xavier", "he"])
def test_init_reaches_convolutions_and_head(init):
    model = ConvNet(filters=[32], init=init, hidden=[32], **MNIST_SIZES)
    start = model.state_dict()
    biases = [name for name in start if name.endswith("bias")]
    assert len(biases) == 3
    assert all(start[name].abs().max() == 0 for name in biases)
    expected = {"normal": 1.0, "xavier": (2 / (25 + 32 * 25)) ** 0.5, "he": (2 / 25) ** 0.5}[init]
    assert start["layers.features.conv1.weight"].std().item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"filters": [8, 8, 8], "kernel_size": [5, 5, 4]},
            (
                "ConvNet: pool3 would be 0x0 (kernel 2, stride 2, padding 0 on 1x1); sizes: input 28x28 -> conv1 "
                "24x24 -> pool1 12x12 -> conv2 8x8 -> pool2 4x4 -> conv3 1x1"
            ),
        ),
        (
            {"filters": [8, 8, 8]},
            (
                "ConvNet: conv3 would be 0x0 (kernel 5, stride 1, padding 0 on 4x4); sizes: input 28x28 -> conv1 "
                "24x24 -> pool1 12x12 -> conv2 8x8 -> pool2 4x4"
            ),
        ),
        (
            {"input_shape": (1, 28, 3)},
            "ConvNet: conv1 would be 24x0 (kernel 5, stride 1, padding 0 on 28x3); sizes: input 28x3",
        ),
        ({"input_shape": (28, 28)}, "ConvNet: input_shape is (28, 28); accepted: (channels, height, width)"),
        (
            {"kernel_size": [5, 5, 5]},
            "ConvNet: kernel_size is [5, 5, 5]; accepted: an integer of at least 1, or a list of 2, one for each layer",
        ),
        (
            {"padding": -1},
            "ConvNet: padding is -1; accepted: an integer of at least 0, or a list of 2, one for each layer",
        ),
        (
            {"padding": [0]},
            "ConvNet: padding is [0]; accepted: an integer of at least 0, or a list of 2, one for each layer",
        ),
        ({"stride": 0}, "ConvNet: stride is 0; accepted: an integer of at least 1, or a list of 2, one for each layer"),
        (
            {"stride": True},
            "ConvNet: stride is True; accepted: an integer of at least 1, or a list of 2, one for each layer",
        ),
        (
            {"kernel_size": 2.5},
            "ConvNet: kernel_size is 2.5; accepted: an integer of at least 1, or a list of 2, one for each layer",
        ),
        ({"pool_size": 0}, "ConvNet: pool_size is 0; accepted: an integer of at least 1"),
        ({"pool": "mx"}, "ConvNet: pool is 'mx'; accepted: 'max', 'avg', 'none'; did you mean 'max'?"),
        ({"filters": [0]}, "ConvNet: filters is [0]; accepted: a list of integers, each at least 1"),
        ({"dropout": 1}, "ConvNet: dropout is 1; accepted: a number from 0 up to, not including, 1"),
    ],
)
def test_invalid_arguments_raise(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        ConvNet(**{**MNIST_SIZES, **arguments})
    assert str(error.value) == message


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 33, 31)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_same_padding_leaves_the_size_divided_by_the_stride(shape, stride, kernel_size):
    model = ConvNet(
        [6], kernel_size=kernel_size, stride=stride, padding="same", pool="none", input_shape=shape, num_classes=10
    )
    expected = [-(-size // stride) for size in shape[1:]]
    assert list(model.layers.features(torch.zeros(2, *shape)).shape) == [2, 6, *expected]
    if stride == 1:
        assert torch.equal(
            nn.functional.conv2d(torch.ones(1, *shape), model.layers.features.conv1.weight, padding="same"),
            nn.functional.conv2d(torch.ones(1, *shape), model.layers.features.conv1.weight, padding=kernel_size // 2),
        )


def test_padding_may_be_same_for_some_convolutions():
    model = ConvNet(
        [6, 16], kernel_size=[5, 2], padding=["same", 1], pool="none", input_shape=(3, 32, 32), num_classes=10
    )
    assert [model.layers.features.get_submodule(name).padding for name in ("conv1", "conv2")] == [(2, 2), (1, 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"kernel_size": 4, "padding": "same"},
            "padding is 'same' and kernel_size 4; accepted: odd kernels, which have a centre",
        ),
        (
            {"padding": ["same", "sam"]},
            "padding is [2, 'sam']; accepted: an integer of at least 0, or a list of 2, one for each layer",
        ),
        (
            {"padding": ["same"]},
            "padding is ['same']; accepted: an integer of at least 0, or a list of 2, one for each layer",
        ),
    ],
)
def test_paddings_that_are_not_accepted(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        ConvNet([6, 16], **arguments)
    assert str(error.value) == f"ConvNet: {message}"


@pytest.mark.parametrize(
    ("arguments", "input_shape", "output_size"),
    [
        ({}, (1, 28, 28), 4),
        ({}, (3, 32, 32), 5),
        ({"padding": "same"}, (3, 32, 32), 8),
        ({"pool": "none", "stride": 2}, (3, 32, 32), 5),
        ({"pool": "none"}, (3, 32, 32), 24),
        ({"pool": "avg", "pool_size": 3}, (3, 32, 32), 1),
    ],
)
def test_six_filters_of_5x5_first_for_images_of_both_sizes(arguments, input_shape, output_size):
    model = ConvNet([6, 16], kernel_size=5, **arguments, input_shape=input_shape, num_classes=10)
    assert model.layers.features.conv1.weight.shape == (6, input_shape[0], 5, 5)
    assert model.layers.features(torch.zeros(2, *input_shape)).shape == (2, 16, output_size, output_size)
    assert model(torch.zeros(2, *input_shape)).shape == (2, 10)


def test_an_image_that_becomes_too_small_raises_with_all_sizes():
    message = (
        r"^ConvNet: conv3 would be 0x0 \(kernel 5, stride 1, padding 0 on 4x4\); sizes: input 28x28 -> conv1 24x24 -> "
        "pool1 12x12 -> conv2 8x8 -> pool2 4x4$"
    )
    with pytest.raises(ValueError, match=message):
        ConvNet([6, 16, 32], kernel_size=5, **MNIST_SIZES)


# --- equal numbers of parameters ---


@pytest.mark.parametrize(
    ("input_shape", "num_units", "convnet"),
    [
        ((1, 28, 28), 10, {"filters": [8, 21], "kernel_size": 5}),
        ((3, 32, 32), 10, {"filters": [6, 16], "kernel_size": 5, "hidden": [68]}),
    ],
)
def test_perceptron_mlp_and_convnet_of_about_as_many_parameters(input_shape, num_units, convnet):
    """Numbers of parameters in the documentation, within 2 % of the perceptron's."""
    sizes = {"input_shape": input_shape, "num_classes": 10}
    networks = Perceptron(**sizes), MLP([num_units], **sizes), ConvNet(**convnet, **sizes)
    perceptron, *others = (sum(parameter.numel() for parameter in network.parameters()) for network in networks)
    assert others == [pytest.approx(perceptron, rel=0.02)] * 2

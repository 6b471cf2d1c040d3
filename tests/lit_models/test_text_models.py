from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from lit_models import MLP, ConvNet, MeanEmbedding, Perceptron, Recurrent, TextConvNet

TINY = {"input_shape": (7,), "num_classes": 3, "vocabulary_size": 20}
READERS = {
    "mean embedding": MeanEmbedding,
    "text convnet": partial(TextConvNet, [2, 3, 5], num_maps=6, embedding_size=4),
    **{
        f"{cell} {readout}": partial(Recurrent, cell, hidden_size=5, num_layers=2, bidirectional=True, readout=readout)
        for cell in ("rnn", "lstm", "gru")
        for readout in ("last", "mean", "max")
    },
}
every_reader = pytest.mark.parametrize("make", READERS.values(), ids=READERS)


def make_texts(*lengths, size=40):
    """Return token ids (num_texts, size), int64: `lengths` tokens each, then padding."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(1, 20, (len(lengths), size), generator=generator)
    return words.masked_fill(torch.arange(size) >= torch.tensor(lengths).unsqueeze(1), 0)


def make_double(make):
    torch.manual_seed(0)
    return make(**TINY).double().eval()


# --- padding ---


@every_reader
def test_logits_do_not_depend_on_the_fixed_length(make):
    model = make_double(make)
    texts = make_texts(20, 13, 1, 2, 0)
    expected = model(texts)
    torch.testing.assert_close(model(texts[:, :20]), expected, rtol=1e-12, atol=1e-12)
    for text, length, logits in zip(texts, (20, 13, 1, 2), expected, strict=False):
        torch.testing.assert_close(model(text[None, :length])[0], logits, rtol=1e-12, atol=1e-12)


@every_reader
def test_gradients_do_not_depend_on_the_fixed_length(make):
    model = make_double(make)
    texts = make_texts(6, 1, 0)
    short, long = (
        torch.autograd.grad(model(texts[:, :size]).square().sum(), list(model.parameters())) for size in (6, 40)
    )
    torch.testing.assert_close(short, long, rtol=1e-10, atol=1e-12)


@every_reader
def test_the_vector_of_padding_has_no_effect(make):
    model = make_double(make)
    texts = make_texts(6, 1, 0)
    expected = model(texts)
    with torch.no_grad():
        model.layers.features.embedding.weight[0] = 1e6
    torch.testing.assert_close(model(texts), expected, rtol=0, atol=0)
    model(texts).sum().backward()
    assert model.layers.features.embedding.weight.grad[0].abs().max() == 0


@every_reader
def test_a_text_without_tokens_has_features_of_zero_and_finite_gradients(make):
    model = make_double(make)
    features = model.layers.features(torch.zeros(2, 7, dtype=torch.int64))
    assert features.abs().max() == 0
    model(torch.zeros(2, 7, dtype=torch.int64)).square().sum().backward()
    assert all(value.grad.isfinite().all() for value in model.parameters() if value.grad is not None)


# --- what each network computes ---


def test_mean_embedding_is_an_mlp_on_the_mean_vector():
    torch.manual_seed(0)
    model = MeanEmbedding(6, hidden=[5], activation="tanh", **TINY)
    tokens = torch.tensor([[3, 4, 4, 0, 0, 0, 0]])
    vectors = model.layers.features.embedding.weight
    mean = (vectors[3] + 2 * vectors[4]) / 3
    torch.testing.assert_close(model(tokens)[0], model.layers.head(mean[None])[0])
    assert [name for name, _ in model.named_parameters()] == [
        "layers.features.embedding.weight",
        "layers.head.linear1.weight",
        "layers.head.linear1.bias",
        "layers.head.output.weight",
        "layers.head.output.bias",
    ]


def test_text_convnet_takes_the_largest_response_of_each_map():
    model = make_double(partial(TextConvNet, [2, 3, 9], num_maps=6, embedding_size=4))
    features = model.layers.features
    for length in (1, 2, 5, 7):
        text = make_texts(length, size=7)
        words = features.embedding(text[:, :length]).transpose(1, 2)  # (1, E, length), without any padding
        expected = [conv(words).relu().amax(dim=2) for conv in (features.conv1, features.conv2, features.conv3)]
        torch.testing.assert_close(features(text), torch.cat(expected, dim=1), rtol=1e-12, atol=1e-12)


def test_windows_with_only_padding_are_ignored():
    model = make_double(partial(TextConvNet, [3], num_maps=6, embedding_size=4))
    features = model.layers.features
    with torch.no_grad():
        features.conv1.bias.fill_(1.0)
        features.conv1.weight.fill_(-1.0)
        features.embedding.weight.fill_(1.0)
    responses = features(torch.tensor([[5, 5, 5, 5, 0, 0, 0, 0, 0]]))
    assert responses.tolist() == [[0.0] * 6]  # a window in padding would give relu(bias) = 1


def test_word_vectors_of_a_text_convnet_start_as_in_kims_code():
    torch.manual_seed(0)
    model = TextConvNet(init="he", input_shape=(7,), num_classes=2, vocabulary_size=1000)
    vectors = model.layers.features.embedding.weight
    assert vectors.shape == (1000, 300)
    assert 0.2499 < vectors.abs().max() <= 0.25
    assert vectors.std().item() == pytest.approx(0.5 / 12**0.5, rel=0.01)
    for number, width in enumerate((3, 4, 5), start=1):
        conv = getattr(model.layers.features, f"conv{number}")
        assert conv.weight.shape == (100, 300, width)
        assert conv.weight.std().item() == pytest.approx((2 / (300 * width)) ** 0.5, rel=0.02)
        assert conv.bias.abs().max() == 0
    assert model.layers.dropout.p == 0.5


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_readouts_ignore_padding(cell):
    model = make_double(partial(Recurrent, cell, hidden_size=5, bidirectional=True))
    reading = model.layers.features
    texts = make_texts(4, 7, size=7)
    states = reading.recurrence(reading.embedding(texts), torch.tensor([4, 7])).detach()
    last = torch.stack(
        [torch.cat([states[0, 3, :5], states[0, 0, 5:]]), torch.cat([states[1, 6, :5], states[1, 0, 5:]])]
    )
    expected = {
        "last": last,
        "mean": torch.stack([states[0, :4].mean(dim=0), states[1].mean(dim=0)]),
        "max": torch.stack([states[0, :4].amax(dim=0), states[1].amax(dim=0)]),
    }
    for readout, features in expected.items():
        reading.readout = readout
        torch.testing.assert_close(reading(texts), features)


# --- what they read ---

NUMBERS = (
    "the inputs are torch.int64, and this network reads floating-point numbers; if they are token ids, give the text "
    "data module `representation: bag_of_words`, or use a network for tokens, such as lit_models.MeanEmbedding"
)
TOKENS = (
    "the inputs are torch.float32, and this network reads token ids, which are torch.int64; give the text data module "
    "`representation: tokens`"
)


@pytest.mark.parametrize("network", [Perceptron, MLP])
def test_networks_for_numbers_refuse_token_ids(network):
    model = network(input_shape=(7,), num_classes=2)
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        model(make_texts(3, 7, size=7))
    assert str(error.value) == f"{network.__name__}: {NUMBERS}"


def test_a_convnet_refuses_token_ids():
    model = ConvNet([2], kernel_size=3, input_shape=(1, 6, 6), num_classes=2)
    with pytest.raises(ValueError, match=r"^ConvNet: the inputs are torch\.int64, and this network reads floating"):
        model(torch.zeros(2, 1, 6, 6, dtype=torch.int64))


@pytest.mark.parametrize("network", [MeanEmbedding, TextConvNet, Recurrent])
def test_networks_for_tokens_refuse_numbers(network):
    model = network(**TINY)
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        model(torch.zeros(2, 7))
    assert str(error.value) == f"{network.__name__}: {TOKENS}"


def test_kinds_of_inputs_are_checked_under_vmap():
    models = [MLP(input_shape=(7,), num_classes=2) for _ in range(2)]
    stacked, buffers = stack_module_state(models)

    def logits(parameters, inputs):
        return functional_call(models[0], (parameters, buffers), (inputs,))

    with pytest.raises(ValueError, match=r"^MLP: the inputs are torch\.int64"):
        vmap(logits, in_dims=(0, None))(stacked, make_texts(3, 7, size=7))
    assert vmap(logits)(stacked, torch.zeros(2, 3, 7)).shape == (2, 3, 2)


# --- arguments ---


@pytest.mark.parametrize("network", [MeanEmbedding, TextConvNet, Recurrent])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embedding_size": 0}, "embedding_size is 0; accepted: an integer of at least 1"),
        ({"vocabulary_size": 0}, "vocabulary_size is 0; accepted: an integer of at least 1"),
        ({"input_shape": (1, 8, 8)}, "input_shape is (1, 8, 8); accepted: (length,), the number of tokens of a text"),
        ({"dropout": 1.0}, "dropout is 1.0; accepted: a number from 0 up to, not including, 1"),
        (
            {"init": "hee"},
            (
                "init is 'hee'; accepted: 'default', 'normal', 'xavier', 'xavier_uniform', 'xavier_normal', 'he', "
                "'he_uniform', 'he_normal'; did you mean 'he'?"
            ),
        ),
        ({"head": "softmx"}, "head is 'softmx'; accepted: 'softmax', 'sigmoid'; did you mean 'softmax'?"),
    ],
)
def test_arguments_that_networks_for_tokens_refuse(network, arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        network(**{**TINY, **arguments})
    assert str(error.value) == f"{network.__name__}: {message}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(MeanEmbedding, hidden=[0]),
            "MeanEmbedding: hidden is [0]; accepted: a list of integers, each at least 1",
        ),
        (
            partial(MeanEmbedding, activation="rleu"),
            (
                "MeanEmbedding: activation is 'rleu'; accepted: 'identity', 'sigmoid', 'tanh', 'relu', 'leaky_relu', "
                "'prelu', 'elu', 'gelu', 'silu'; did you mean 'relu'?"
            ),
        ),
        (partial(TextConvNet, [3, 0]), "TextConvNet: widths is [3, 0]; accepted: a list of integers, each at least 1"),
        (partial(TextConvNet, []), "TextConvNet: widths is []; accepted: a list of at least one integer"),
        (partial(TextConvNet, num_maps=0), "TextConvNet: num_maps is 0; accepted: an integer of at least 1"),
        (
            partial(Recurrent, "lstn"),
            "Recurrent: cell is 'lstn'; accepted: 'rnn', 'lstm', 'gru'; did you mean 'lstm'?",
        ),
        (partial(Recurrent, hidden_size=0), "Recurrent: hidden_size is 0; accepted: an integer of at least 1"),
        (partial(Recurrent, num_layers=0), "Recurrent: num_layers is 0; accepted: an integer of at least 1"),
        (
            partial(Recurrent, readout="lst"),
            "Recurrent: readout is 'lst'; accepted: 'last', 'mean', 'max'; did you mean 'last'?",
        ),
        (
            partial(Recurrent, "gru", forget_bias=1.0),
            "Recurrent: forget_bias is 1.0, and cell 'gru' has no forget gate; accepted: None",
        ),
    ],
)
def test_invalid_arguments_raise_in_the_constructor(make, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        make()
    assert str(error.value) == message


def test_layers_without_dropout_have_none():
    for make in (MeanEmbedding, partial(TextConvNet, dropout=0.0), partial(Recurrent, num_layers=2)):
        assert not any(isinstance(layer, nn.Dropout) for layer in make(**TINY).modules())

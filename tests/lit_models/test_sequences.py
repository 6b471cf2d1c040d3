import pytest
import torch
from torch import nn

from lit_models import SequenceClassifier, SequenceRegressor

TORCH = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@pytest.mark.parametrize("cell", TORCH)
@pytest.mark.parametrize("is_bidirectional", [False, True])
def test_predictions_are_those_of_torchs_own_layers(cell, is_bidirectional):
    torch.manual_seed(0)
    model = SequenceRegressor(
        cell, hidden_size=5, bidirectional=is_bidirectional, input_shape=(9, 3), num_outputs=2
    ).double()
    own = TORCH[cell](3, 5, batch_first=True, bidirectional=is_bidirectional).double()
    own.load_state_dict(model.layers.features.recurrence.state_dict())
    inputs = torch.randn(4, 9, 3, dtype=torch.float64)
    states, _ = own(inputs)
    last = torch.cat([states[:, -1, :5], states[:, 0, 5:]], dim=1)
    torch.testing.assert_close(model(inputs), model.layers.head(last), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("readout", ["mean", "max"])
def test_other_readouts_are_over_all_steps(readout):
    torch.manual_seed(0)
    model = SequenceRegressor("gru", hidden_size=5, readout=readout, input_shape=(9, 3), num_outputs=1)
    own = nn.GRU(3, 5, batch_first=True)
    own.load_state_dict(model.layers.features.recurrence.state_dict())
    inputs = torch.randn(4, 9, 3)
    states, _ = own(inputs)
    read = states.mean(dim=1) if readout == "mean" else states.amax(dim=1)
    torch.testing.assert_close(model(inputs), model.layers.head(read))


def test_an_image_is_read_row_by_row_with_its_colours():
    torch.manual_seed(0)
    of_images = SequenceClassifier("gru", hidden_size=5, input_shape=(3, 4, 6), num_classes=2)
    of_rows = SequenceClassifier("gru", hidden_size=5, input_shape=(4, 18), num_classes=2)
    of_rows.load_state_dict(of_images.state_dict())
    images = torch.randn(2, 3, 4, 6)
    rows = torch.stack([images[:, :, row].flatten(1) for row in range(4)], dim=1)
    torch.testing.assert_close(of_images(images), of_rows(rows))


def test_the_last_readout_contains_the_last_and_the_first_word():
    torch.manual_seed(0)
    model = SequenceRegressor("lstm", hidden_size=5, input_shape=(20, 2), num_outputs=1).double()
    inputs = torch.randn(1, 20, 2, dtype=torch.float64, requires_grad=True)
    model(inputs).sum().backward()
    reached = inputs.grad.abs().amax(dim=(0, 2))
    assert (reached > 0).all()
    assert reached[-1] > reached[0]


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        (SequenceClassifier, {"cell": "gur"}, "cell is 'gur'; accepted: 'rnn', 'lstm', 'gru'; did you mean 'gru'?"),
        (SequenceRegressor, {"hidden_size": 0}, "hidden_size is 0; accepted: an integer of at least 1"),
        (SequenceRegressor, {"readout": "first"}, "readout is 'first'; accepted: 'last', 'mean', 'max'"),
        (
            SequenceRegressor,
            {"cell": "rnn", "forget_bias": 1.0},
            "forget_bias is 1.0, and cell 'rnn' has no forget gate; accepted: None",
        ),
        (
            SequenceRegressor,
            {"input_shape": (10,), "num_outputs": 1},
            "input_shape is (10,); accepted: (steps, numbers at a step), or an image (channels, height, width), ",
        ),
    ],
)
def test_arguments_that_are_not_accepted(network, arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        network(**arguments)
    assert str(error.value).startswith(f"{network.__name__}: {message}")


def test_token_ids_are_no_numbers():
    model = SequenceClassifier(input_shape=(4, 2), num_classes=2)
    with pytest.raises(ValueError, match=r"^SequenceClassifier: the inputs are torch.int64, and this network reads"):
        model(torch.zeros(1, 4, 2, dtype=torch.int64))

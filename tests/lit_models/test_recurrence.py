import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lit_models import Recurrence, Recurrent

THEIRS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
LENGTHS = torch.tensor([3, 7, 1, 6])
TINY = {"input_shape": (7,), "num_classes": 3, "vocabulary_size": 20}

every_cell = pytest.mark.parametrize("cell", THEIRS)
every_shape = pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, False), (1, True), (2, False), (2, True)])


def make_both(cell, num_layers, bidirectional):
    """Return our layers and torch's, with the same values, in float64."""
    torch.manual_seed(0)
    shape = {"num_layers": num_layers, "bidirectional": bidirectional}
    theirs = THEIRS[cell](5, 4, batch_first=True, **shape).double()
    ours = Recurrence(cell, 5, 4, **shape).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def packed(theirs, inputs, lengths=LENGTHS):
    """Return outputs (zero at padding) and final states of torch's layers on packed texts."""
    outputs, final = theirs(pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False))
    outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])
    hidden = final[0] if isinstance(final, tuple) else final
    directions = 2 if theirs.bidirectional else 1
    return outputs, torch.cat(list(hidden[-directions:]), dim=-1)


@every_cell
@every_shape
def test_outputs_and_gradients_are_those_of_torch_on_packed_texts(cell, num_layers, bidirectional):
    ours, theirs = make_both(cell, num_layers, bidirectional)
    inputs = torch.randn(4, 7, 5, dtype=torch.float64)
    weights = torch.randn(4, 7, 8 if bidirectional else 4, dtype=torch.float64)
    both = []
    for read in (lambda x: ours(x, LENGTHS), lambda x: packed(theirs, x)[0]):
        x = inputs.clone().requires_grad_()
        outputs = read(x)
        (outputs * weights).sum().backward()
        both.append((outputs.detach(), x.grad))
    torch.testing.assert_close(*both, rtol=1e-10, atol=1e-12)
    expected = {name: value.grad for name, value in theirs.named_parameters()}
    torch.testing.assert_close(
        {name: value.grad for name, value in ours.named_parameters()}, expected, rtol=1e-10, atol=1e-12
    )


@every_cell
@every_shape
def test_the_last_readout_is_torchs_final_state(cell, num_layers, bidirectional):
    ours, theirs = make_both(cell, num_layers, bidirectional)
    model = Recurrent(
        cell, hidden_size=4, embedding_size=5, num_layers=num_layers, bidirectional=bidirectional, **TINY
    ).double()
    model.layers.features.recurrence.load_state_dict(ours.state_dict())
    tokens = torch.randint(1, 20, (4, 7)).masked_fill(torch.arange(7) >= LENGTHS.unsqueeze(1), 0)
    _, final = packed(theirs, model.layers.features.embedding(tokens))
    torch.testing.assert_close(model.layers.features(tokens), final, rtol=1e-10, atol=1e-12)


@every_cell
@every_shape
def test_parameters_have_torchs_names_order_and_start(cell, num_layers, bidirectional):
    shape = {"num_layers": num_layers, "bidirectional": bidirectional}
    torch.manual_seed(1)
    ours = Recurrence(cell, 5, 4, **shape)
    torch.manual_seed(1)
    theirs = THEIRS[cell](5, 4, batch_first=True, **shape)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    for (name, value), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(value, expected), name


@every_cell
def test_an_empty_text_leaves_no_state_and_no_gradient(cell):
    layers = Recurrence(cell, 5, 4, num_layers=2, bidirectional=True)
    outputs = layers(torch.randn(2, 7, 5), torch.tensor([0, 0]))
    assert outputs.abs().max() == 0
    outputs.sum().backward()
    assert all(value.grad.abs().max() == 0 for value in layers.parameters())


def test_dropout_lies_between_layers():
    one, two = (Recurrence("gru", 5, 4, num_layers=layers, dropout=0.5) for layers in (1, 2))
    inputs, lengths = torch.randn(4, 7, 5), LENGTHS
    assert torch.equal(one(inputs, lengths), one.eval()(inputs, lengths))
    assert not torch.equal(two(inputs, lengths), two.eval()(inputs, lengths))
    seen = []
    two.dropout.register_forward_hook(lambda module, given, dropped: seen.append((given[0], dropped)))
    torch.manual_seed(0)
    two.train()(inputs, lengths)
    [(given, dropped)] = seen
    kept = dropped != 0
    assert 0.2 < kept.float().mean() < 0.8
    torch.testing.assert_close(dropped[kept], 2 * given[kept])


@pytest.mark.parametrize(("init", "std"), [("normal", 1.0), ("xavier", (2 / 400) ** 0.5), ("he", (2 / 200) ** 0.5)])
def test_init_counts_each_gate_for_itself(init, std):
    torch.manual_seed(0)
    model = Recurrent("lstm", hidden_size=200, embedding_size=200, init=init, num_layers=2, bidirectional=True, **TINY)
    assert model.layers.features.embedding.weight.abs().max() <= 0.25  # the embedding keeps its own start
    for name, value in model.layers.features.recurrence.named_parameters():
        if "bias" in name:
            assert value.abs().max() == 0, name
        elif "hh" in name or "l0" in name:
            assert value.std().item() == pytest.approx(std, rel=0.02), name


@pytest.mark.parametrize("init", ["default", "xavier"])
def test_forget_bias_is_the_sum_of_both(init):
    torch.manual_seed(0)
    plain = Recurrent("lstm", hidden_size=3, num_layers=2, bidirectional=True, init=init, **TINY)
    torch.manual_seed(0)
    model = Recurrent("lstm", hidden_size=3, num_layers=2, bidirectional=True, init=init, forget_bias=1.5, **TINY)
    start = plain.state_dict()
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        recurrence = model.layers.features.recurrence
        total = getattr(recurrence, f"bias_ih_{suffix}") + getattr(recurrence, f"bias_hh_{suffix}")
        assert total.view(4, 3)[1].tolist() == [1.5, 1.5, 1.5]
    for name, value in model.state_dict().items():
        others = [0, 2, 3] if "recurrence.bias" in name else slice(None)
        shaped = (4, 3) if "recurrence.bias" in name else value.shape
        assert torch.equal(value.view(shaped)[others], start[name].view(shaped)[others]), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "lstn"}, "Recurrence: cell is 'lstn'; accepted: 'rnn', 'lstm', 'gru'; did you mean 'lstm'?"),
        ({"input_size": 0}, "Recurrence: input_size is 0; accepted: an integer of at least 1"),
        ({"hidden_size": 2.5}, "Recurrence: hidden_size is 2.5; accepted: an integer of at least 1"),
        ({"num_layers": 0}, "Recurrence: num_layers is 0; accepted: an integer of at least 1"),
        ({"dropout": 1}, "Recurrence: dropout is 1; accepted: a number from 0 up to, not including, 1"),
    ],
)
def test_invalid_arguments_raise(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        Recurrence(**{"cell": "rnn", "input_size": 2, "hidden_size": 3, **arguments})
    assert str(error.value) == message


def test_repr_shows_the_arguments():
    assert repr(Recurrence("gru", 2, 3)).splitlines()[1] == "  gru, 3, num_layers=1, bidirectional=False"


def test_only_an_lstm_has_forget_gates():
    with pytest.raises(ValueError, match="Recurrence: cell 'gru' has no forget gate"):
        Recurrence("gru", 2, 3).set_forget_bias(1.0)

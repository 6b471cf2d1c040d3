import pytest
import torch
from fusable_module import OwnForms
from text_modules import Gated, Tied
from torch import nn

from experiments.mechanisms.layer_outputs import (
    OutputRecorder,
    classify_layer,
    find_layers,
    find_weights,
    hook_outputs,
    order_by_data_flow,
    shorten_names,
)
from lit_models import TextConvNet


def test_weights_are_parameters_of_two_or_more_axes():
    assert [*find_weights(Gated())] == ["weight_ih", "weight_hh", "embedding.weight", "output.weight"]
    assert [*find_weights(nn.LSTM(2, 3))] == ["weight_ih_l0", "weight_hh_l0"]


def test_a_tied_or_computed_weight_has_one_name():
    owners = find_weights(OwnForms())
    assert "second.weight" not in owners
    assert owners["normed.parametrizations.weight.original"] == "normed"
    assert shorten_names([*owners])["normed.parametrizations.weight.original"] == "normed"
    assert "normed" in find_layers(OwnForms())
    assert "normed.parametrizations.weight" not in find_layers(OwnForms())


def test_names_are_shortened_unless_they_become_equal():
    assert shorten_names(["layers.a.weight", "layers.b.weight"]) == {"layers.a.weight": "a", "layers.b.weight": "b"}
    assert shorten_names(["layers.a.weight", "a.weight"]) == {"layers.a.weight": "layers.a", "a.weight": "a"}


def test_only_layers_with_weights_and_activations_are_measured():
    modules = nn.Flatten(), nn.BatchNorm1d(2), nn.Dropout(), nn.Softmax(dim=1), nn.LayerNorm(2)
    assert [classify_layer(module) for module in modules] == [None] * 5
    assert classify_layer(nn.LeakyReLU()) == "rectifier"
    assert classify_layer(nn.Hardtanh()) == "other"


def test_layers_are_ordered_by_data_flow():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.idle, self.first = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.last(self.first(x))

    module = Backwards()
    recorder = OutputRecorder(find_layers(module))
    with hook_outputs(find_layers(module), lambda name, x: recorder.add(name, x.unsqueeze(0)) or x):
        module(torch.zeros(3, 2))
    assert [*recorder.outputs] == ["first", "last"]
    assert order_by_data_flow(module, recorder.outputs) == ["first", "last", "idle"]
    assert not module.last._forward_hooks


def test_layers_without_a_call_follow_their_neighbours():
    model = TextConvNet(widths=[2, 3], num_maps=2, embedding_size=4, input_shape=(5,), num_classes=2, vocabulary_size=9)
    features = "layers.features"
    assert order_by_data_flow(model, [f"{features}.embedding", "layers.head.output"]) == [
        f"{features}.embedding",
        f"{features}.conv1",
        f"{features}.conv2",
        "layers.head.output",
    ]


@pytest.mark.parametrize(
    ("shape", "after", "units_first"), [((4, 3, 5, 5), "conv", True), ((4, 7, 3), "linear", False)]
)
def test_units_are_channels_after_convolutions_else_the_last_axis(shape, after, units_first):
    modules = {"conv": nn.Conv2d(1, 3, 2), "linear": nn.Linear(3, 3), "act": nn.ReLU()}
    recorder = OutputRecorder(modules)
    for name in (after, "act"):
        recorder.add(name, torch.zeros(1, *shape))
    assert recorder.outputs["act"].units_first is units_first


def test_of_several_outputs_the_first_is_recorded():
    told = []
    module = nn.Sequential(nn.LSTM(2, 3))
    with hook_outputs(find_layers(module), lambda name, x: told.append((name, x.shape)) or x):
        out, _ = module(torch.zeros(4, 5, 2))
    assert told == [("0", (4, 5, 3))]
    assert out.shape == (4, 5, 3)


def test_a_table_that_is_read_twice_is_one_layer():
    assert [*find_weights(Tied())] == ["embedding.weight", "output.weight"]

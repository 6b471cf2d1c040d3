import pytest
import torch
from fusable_module import OwnForms
from text_modules import Gated, Tied
from torch import nn

from experiments.mechanisms.layer_outputs import (
    Recorder,
    hooked,
    in_flow,
    kind_of,
    shown,
    watched,
    weights_of,
)
from lit_models import TextConvNet


def test_weights_have_two_axes_or_more_whatever_they_are_called():
    assert [*weights_of(Gated())] == ["weight_ih", "weight_hh", "embedding.weight", "output.weight"]
    assert [*weights_of(nn.LSTM(2, 3))] == ["weight_ih_l0", "weight_hh_l0"]


def test_a_weight_that_is_tied_or_computed_has_one_name():
    owners = weights_of(OwnForms())
    assert "second.weight" not in owners
    assert owners["normed.parametrizations.weight.original"] == "normed"
    assert shown([*owners])["normed.parametrizations.weight.original"] == "normed"
    assert "normed" in watched(OwnForms())
    assert "normed.parametrizations.weight" not in watched(OwnForms())


def test_layers_is_left_out_in_front_unless_two_names_would_become_one():
    assert shown(["layers.a.weight", "layers.b.weight"]) == {"layers.a.weight": "a", "layers.b.weight": "b"}
    assert shown(["layers.a.weight", "a.weight"]) == {"layers.a.weight": "layers.a", "a.weight": "a"}


def test_only_layers_with_weights_and_activations_are_told_of():
    modules = nn.Flatten(), nn.BatchNorm1d(2), nn.Dropout(), nn.Softmax(dim=1), nn.LayerNorm(2)
    assert [kind_of(module) for module in modules] == [None] * 5
    assert kind_of(nn.LeakyReLU()) == "rectifier"
    assert kind_of(nn.Hardtanh()) == "other"


def test_the_order_is_that_of_the_data_and_what_is_not_called_stands_after_its_neighbour():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.idle, self.first = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.last(self.first(x))

    module = Backwards()
    recorder = Recorder(watched(module))
    with hooked(watched(module), lambda name, x: recorder.add(name, x.unsqueeze(0)) or x):
        module(torch.zeros(3, 2))
    assert [*recorder.outputs] == ["first", "last"]
    assert in_flow(module, recorder.outputs) == ["first", "last", "idle"]
    assert not module.last._forward_hooks


def test_convolutions_that_are_not_called_stand_between_what_is_before_and_after_them():
    model = TextConvNet(widths=[2, 3], num_maps=2, embedding_size=4, input_shape=(5,), num_classes=2, vocabulary_size=9)
    features = "layers.features"
    assert in_flow(model, [f"{features}.embedding", "layers.head.output"]) == [
        f"{features}.embedding",
        f"{features}.conv1",
        f"{features}.conv2",
        "layers.head.output",
    ]


@pytest.mark.parametrize(
    ("shape", "after", "units_first"), [((4, 3, 5, 5), "conv", True), ((4, 7, 3), "linear", False)]
)
def test_units_are_channels_after_a_convolution_and_else_the_last_axis(shape, after, units_first):
    modules = {"conv": nn.Conv2d(1, 3, 2), "linear": nn.Linear(3, 3), "act": nn.ReLU()}
    recorder = Recorder(modules)
    for name in (after, "act"):
        recorder.add(name, torch.zeros(1, *shape))
    assert recorder.outputs["act"].units_first is units_first


def test_of_what_returns_several_tensors_the_first_is_told():
    told = []
    module = nn.Sequential(nn.LSTM(2, 3))
    with hooked(watched(module), lambda name, x: told.append((name, x.shape)) or x):
        out, _ = module(torch.zeros(4, 5, 2))
    assert told == [("0", (4, 5, 3))]
    assert out.shape == (4, 5, 3)


def test_one_table_that_is_read_twice_is_one_layer():
    assert [*weights_of(Tied())] == ["embedding.weight", "output.weight"]

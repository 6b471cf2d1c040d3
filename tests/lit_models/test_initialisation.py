from math import sqrt

import pytest
import torch
from torch import nn

from lit_models import initialise


def make_layers():
    """Linear: fan_in 600, fan_out 400. Convolution: fan_in 16 * 25 = 400, fan_out 64 * 25 = 1600."""
    return nn.Sequential(nn.Linear(600, 400), nn.Conv2d(16, 64, 5), nn.Conv1d(8, 8, 3, bias=False), nn.BatchNorm1d(8))


FORMULAS = {
    "normal": lambda fan_in, fan_out: 1.0,
    "xavier": lambda fan_in, fan_out: sqrt(2 / (fan_in + fan_out)),
    "he": lambda fan_in, fan_out: sqrt(2 / fan_in),
}


@pytest.mark.parametrize(
    ("init", "formula", "uniform"),
    [
        ("normal", "normal", False),
        ("xavier", "xavier", True),
        ("xavier_uniform", "xavier", True),
        ("xavier_normal", "xavier", False),
        ("he", "he", True),
        ("he_uniform", "he", True),
        ("he_normal", "he", False),
    ],
)
def test_weights_follow_the_formula_and_biases_are_zero(init, formula, uniform):
    torch.manual_seed(0)
    layers = make_layers()
    initialise(layers, init)
    for layer, fan_in, fan_out in [(layers[0], 600, 400), (layers[1], 400, 1600)]:
        std = FORMULAS[formula](fan_in, fan_out)
        # 240,000 and 25,600 draws: the standard error of the deviation is 0.15 % and 0.45 % of it.
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.03 * std)
        within_uniform_bound = layer.weight.abs().max().item() <= sqrt(3) * std * (1 + 1e-6)
        assert within_uniform_bound == uniform
        assert layer.bias.abs().max() == 0


def test_default_leaves_weights_and_biases_as_torch_drew_them():
    layers = make_layers()
    before = {name: value.clone() for name, value in layers.state_dict().items()}
    state = torch.get_rng_state()
    initialise(layers, "default")
    assert all(torch.equal(value, before[name]) for name, value in layers.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert layers[0].bias.abs().max() > 0


def test_other_layers_keep_their_start():
    layers = nn.Sequential(nn.BatchNorm1d(4), nn.PReLU())
    initialise(layers, "normal")
    assert layers[0].weight.tolist() == [1, 1, 1, 1]
    assert layers[1].weight.item() == 0.25


def test_unknown_name():
    with pytest.raises(
        ValueError, match=r"^initialise: init is 'xavir'; accepted: 'default', .*; did you mean 'xavier'\?$"
    ):
        initialise(nn.Linear(1, 1), "xavir")

from math import erf, exp, sqrt, tanh

import pytest
import torch

from lit_models import make_activation


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("identity", lambda x: x),
        ("sigmoid", lambda x: 1 / (1 + exp(-x))),
        ("tanh", tanh),
        ("relu", lambda x: max(0.0, x)),
        ("leaky_relu", lambda x: x if x > 0 else 0.01 * x),
        ("prelu", lambda x: x if x > 0 else 0.25 * x),
        ("elu", lambda x: x if x > 0 else exp(x) - 1),
        ("gelu", lambda x: x * (1 + erf(x / sqrt(2))) / 2),
        ("silu", lambda x: x / (1 + exp(-x))),
    ],
)
def test_activations_follow_their_formulas(name, formula):
    points = [-3.0, -0.5, 0.0, 0.5, 3.0]
    measured = make_activation(name).double()(torch.tensor(points, dtype=torch.float64))
    assert measured.tolist() == pytest.approx([formula(x) for x in points], abs=1e-12)


def test_only_prelu_learns():
    assert [value.tolist() for value in make_activation("prelu").parameters()] == [[0.25]]
    assert list(make_activation("relu").parameters()) == []


def test_unknown_name():
    with pytest.raises(ValueError, match=r"^make_activation: name is 'swish'; accepted: 'identity', "):
        make_activation("swish")

"""Activations by name."""

from collections.abc import Callable
from typing import Literal, get_args

from torch import nn

from ablation_suite.argument_checks import check_choice

Activation = Literal["identity", "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "gelu", "silu"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def make_activation(name: Activation) -> nn.Module:
    """Return a new element-wise activation: (*) -> (*).

    | name | formula | source |
    |---|---|---|
    | identity | x | makes a network linear |
    | sigmoid | 1 / (1 + exp(-x)) | |
    | tanh | tanh(x) | LeCun et al. 1998, Efficient BackProp |
    | relu | max(0, x) | Nair & Hinton 2010 |
    | leaky_relu | x if x > 0 else 0.01 x | Maas et al. 2013 |
    | prelu | x if x > 0 else a x, one learned a per layer, 0.25 at first | He et al. 2015 |
    | elu | x if x > 0 else exp(x) - 1 | Clevert et al. 2016 |
    | gelu | x Phi(x), Phi the normal distribution function (exact, not the tanh form) | Hendrycks & Gimpel 2016 |
    | silu | x sigmoid(x) | Elfwing et al. 2018 |

    Raises:
        ValueError: no activation has this name; the message suggests the nearest one.

    >>> make_activation("leaky_relu")
    LeakyReLU(negative_slope=0.01)
    """
    check_choice("make_activation", "name", name, get_args(Activation))
    return _ACTIVATIONS[name]()

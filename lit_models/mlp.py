"""Fully connected layers in a row."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, ClassVar, get_args

from torch import nn

from lit_models.arguments import check_choice, check_integers, check_rate
from lit_models.classifier import Classifier
from lit_models.initialisation import Init, initialise
from lit_models.inputs import Reads
from lit_models.layers import Activation, make_activation


class MLP(Classifier):
    """A multilayer perceptron: for each hidden layer linear, batch norm, activation, dropout; then a linear output.

    Args:
        hidden: the number of units of each hidden layer; [] leaves the output layer alone, a perceptron.
        activation: see `make_activation`.
        init: where weights and biases start, see `initialise`; unless asked, as in plain PyTorch.
        dropout: the probability with which a hidden unit is set to zero in training, 0 <= dropout < 1 (Srivastava et
            al. 2014); 0 builds no dropout layer.
        batch_norm: whether to normalise each hidden layer over the batch, before the activation (Ioffe & Szegedy 2015).
        options: optimizer, lr_scheduler, head, loss, l1, l2, input_shape and num_classes, see `Classifier`.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

    >>> MLP(hidden=[64], dropout=0.5, input_shape=(1, 8, 8), num_classes=10).layers
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (linear1): Linear(in_features=64, out_features=64, bias=True)
      (activation1): ReLU()
      (dropout1): Dropout(p=0.5, inplace=False)
      (output): Linear(in_features=64, out_features=10, bias=True)
    )
    """

    reads: ClassVar[Reads] = "numbers"

    def __init__(
        self,
        hidden: Sequence[int] = (128,),
        *,
        activation: Activation = "relu",
        init: Init = "default",
        dropout: float = 0.0,
        batch_norm: bool = False,
        **options: Any,
    ) -> None:
        make_layers = mlp_recipe(
            type(self).__name__,
            hidden=hidden,
            activation=activation,
            init=init,
            dropout=dropout,
            batch_norm=batch_norm,
        )
        super().__init__(make_layers, **options)


def mlp_recipe(
    owner: str,
    *,
    hidden: Sequence[int],
    activation: Activation,
    init: Init,
    dropout: float,
    batch_norm: bool,
) -> Callable[..., nn.Module]:
    """`mlp_layers` with these arguments, from (input_shape, num_outputs).

    Raises:
        ValueError: an argument is not accepted; the message names `owner` and says what is.
    """
    check_integers(owner, "hidden", hidden)
    check_choice(owner, "activation", activation, get_args(Activation))
    check_choice(owner, "init", init, get_args(Init))
    check_rate(owner, "dropout", dropout)
    return partial(mlp_layers, hidden=hidden, activation=activation, init=init, dropout=dropout, batch_norm=batch_norm)


def mlp_layers(
    input_shape: Sequence[int],
    num_outputs: int,
    *,
    hidden: Sequence[int],
    activation: Activation,
    init: Init,
    dropout: float,
    batch_norm: bool,
) -> nn.Module:
    """The layers of an `MLP`, initialised: (B, *input_shape) -> (B, num_outputs).

    A layer is named by its kind and its place among the hidden layers, so the other parameters keep their names when an
    ingredient is switched or a hidden layer added. Batch norm's own shift makes the bias before it redundant, yet the
    bias stays: then both levels of the factor `batch_norm` have it, and what is added is batch norm and nothing else.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = prod(input_shape)
    for number, units in enumerate(hidden, start=1):
        layers[f"linear{number}"] = nn.Linear(width, units)
        if batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm1d(units)
        layers[f"activation{number}"] = make_activation(activation)
        if dropout > 0:
            layers[f"dropout{number}"] = nn.Dropout(dropout)
        width = units
    layers["output"] = nn.Linear(width, num_outputs)
    network = nn.Sequential(layers)
    initialise(network, init)
    return network

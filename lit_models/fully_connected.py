"""Fully connected layers in a row: a whole MLP, or the end of another network."""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, get_args

from torch import nn

from ablation_suite.argument_checks import check_choice, check_integers, check_rate
from lit_models.activations import Activation, make_activation
from lit_models.initialisation import Init, initialise
from lit_models.input_kinds import InputKind
from lit_models.network import Network


class FullyConnected(Network):
    """Base class of networks that are an MLP or end with one; a subclass also derives from `Classifier` or `Regressor`.

    Args:
        hidden: the number of units of each hidden layer; [] leaves only the output layer.
        activation: see `make_activation`.
        init: initial values of weights and biases, see `initialise`; PyTorch's by default.
        dropout: the probability with which a hidden unit is set to zero in training, 0 <= dropout < 1 (Srivastava et
            al. 2014); 0 builds no dropout layer.
        batch_norm: whether to normalise each hidden layer over the batch, before the activation (Ioffe & Szegedy 2015).
        options: see the subclass's other base.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.
    """

    input_kind: ClassVar[InputKind] = "numbers"

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
        owner = type(self).__name__
        check_integers(owner, "hidden", hidden)
        check_choice(owner, "activation", activation, get_args(Activation))
        check_choice(owner, "init", init, get_args(Init))
        check_rate(owner, "dropout", dropout)
        self.hidden, self.activation, self.init = hidden, activation, init
        self.dropout, self.batch_norm = dropout, batch_norm
        super().__init__(**options)

    def make_layers(self, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
        """Return the initialised layers of an MLP: (B, *input_shape) -> (B, num_outputs).

        A layer is named by its kind and its number among the hidden layers, so the other parameters keep their names
        when an ingredient is switched or a hidden layer added. Batch norm's shift makes the bias before it redundant,
        yet the bias stays: both levels of the factor `batch_norm` then have it, and differ by batch norm only.
        """
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        width = prod(input_shape)
        for number, units in enumerate(self.hidden, start=1):
            layers[f"linear{number}"] = nn.Linear(width, units)
            if self.batch_norm:
                layers[f"norm{number}"] = nn.BatchNorm1d(units)
            layers[f"activation{number}"] = make_activation(self.activation)
            if self.dropout > 0:
                layers[f"dropout{number}"] = nn.Dropout(self.dropout)
            width = units
        layers["output"] = nn.Linear(width, num_outputs)
        network = nn.Sequential(layers)
        initialise(network, self.init)
        return network

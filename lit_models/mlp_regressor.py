"""Fully connected layers in a row that predict numbers."""

from collections.abc import Sequence
from typing import Any, ClassVar

from lit_models.activations import Activation
from lit_models.initialisation import Init
from lit_models.input_kinds import Reads
from lit_models.mlp import mlp_recipe
from lit_models.regressor import Regressor


class MLPRegressor(Regressor):
    """The layers of an `MLP`, whose linear outputs are numbers and not logits.

    Args:
        hidden: the number of units of each hidden layer; [] leaves the output layer alone, linear regression.
        activation: see `make_activation`.
        init: where weights and biases start, see `initialise`; unless asked, as in plain PyTorch.
        dropout: the probability with which a hidden unit is set to zero in training, 0 <= dropout < 1; 0 builds no
            dropout layer.
        batch_norm: whether to normalise each hidden layer over the batch, before the activation.
        options: optimizer, lr_scheduler, loss, l1, l2, input_shape and num_outputs, see `Regressor`.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

    >>> MLPRegressor(hidden=[64], input_shape=(10,), num_outputs=1).layers
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (linear1): Linear(in_features=10, out_features=64, bias=True)
      (activation1): ReLU()
      (output): Linear(in_features=64, out_features=1, bias=True)
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

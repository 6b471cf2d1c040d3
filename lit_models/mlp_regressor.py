"""A multilayer perceptron that predicts numbers."""

from lit_models.fully_connected import FullyConnected
from lit_models.regressor import Regressor


class MLPRegressor(FullyConnected, Regressor):
    """An MLP whose linear outputs are predicted numbers instead of logits.

    Args:
        hidden: the number of units of each hidden layer; [] leaves only the output layer, linear regression.
        activation: see `make_activation`.
        init: initial values of weights and biases, see `initialise`; PyTorch's by default.
        dropout: the probability with which a hidden unit is set to zero in training, 0 <= dropout < 1; 0 builds no
            dropout layer.
        batch_norm: whether to normalise each hidden layer over the batch, before the activation.
        options: optimizer, lr_scheduler, loss, l1, l2, input_shape and num_outputs, see `Regressor`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    >>> MLPRegressor(hidden=[64], input_shape=(10,), num_outputs=1).layers
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (linear1): Linear(in_features=10, out_features=64, bias=True)
      (activation1): ReLU()
      (output): Linear(in_features=64, out_features=1, bias=True)
    )
    """

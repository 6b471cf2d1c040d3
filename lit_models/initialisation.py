"""Initial values of weights."""

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, Literal, get_args

from torch import Tensor, nn

from ablation_suite.argument_checks import check_choice
from lit_models.recurrence import Recurrence

Init = Literal["default", "normal", "xavier", "xavier_uniform", "xavier_normal", "he", "he_uniform", "he_normal"]

_he_uniform = partial(nn.init.kaiming_uniform_, mode="fan_in", nonlinearity="relu")
_he_normal = partial(nn.init.kaiming_normal_, mode="fan_in", nonlinearity="relu")

_DRAWS: dict[str, Callable[[Tensor], Any]] = {
    "normal": nn.init.normal_,
    "xavier": nn.init.xavier_uniform_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "he": _he_uniform,
    "he_uniform": _he_uniform,
    "he_normal": _he_normal,
}


def initialise(network: nn.Module, init: Init) -> None:
    """Redraw the weights of all linear, convolutional and recurrent layers in place, and set their biases to zero.

    | init | weights |
    |---|---|
    | default | PyTorch's values are kept, those of biases too: both from U(-1/sqrt(fan_in), 1/sqrt(fan_in)) |
    | normal | N(0, 1): known to be bad, since outputs grow by a factor of sqrt(fan_in) per layer |
    | xavier, xavier_uniform | U(-a, a), a = sqrt(6 / (fan_in + fan_out)) |
    | xavier_normal | N(0, 2 / (fan_in + fan_out)) |
    | he, he_uniform | U(-a, a), a = sqrt(2) sqrt(3 / fan_in) |
    | he_normal | N(0, 2 / fan_in) |

    fan_in is the number of weights per output, fan_out the number per input. In a convolution they are channels times
    kernel area. In a recurrent layer they are counted for each gate, and separately for input and state; PyTorch's
    default there is U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)). He's sqrt(2) is the gain of ReLU and is used with
    every activation, so that `init` and `activation` stay two factors. Values come from torch's global generator.
    Batch norm, PReLU and embeddings keep theirs: rows of an embedding are looked up, not summed, and have no fan_in.

    Sources: Xavier, Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks,
    equation 16; He, He et al. 2015, Delving deep into rectifiers, equation 10.

    Raises:
        ValueError: no initialisation has this name; the message suggests the nearest one.

    >>> layer = nn.Linear(300, 100)
    >>> initialise(layer, "xavier_uniform")
    >>> bool(layer.weight.abs().max() <= (6 / (300 + 100)) ** 0.5), layer.bias.abs().max().item()
    (True, 0.0)
    """
    check_choice("initialise", "init", init, get_args(Init))
    if init == "default":
        return
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            _DRAWS[init](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, Recurrence):
            for gate in chain(*layer.split_gates("weight_ih"), *layer.split_gates("weight_hh")):
                _DRAWS[init](gate)
            for gate in chain(*layer.split_gates("bias_ih"), *layer.split_gates("bias_hh")):
                nn.init.zeros_(gate)

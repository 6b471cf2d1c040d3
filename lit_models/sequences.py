"""Recurrent layers over sequences of numbers, and a linear output: for classes and for numbers.

Shapes: B batch, T steps, F numbers at a step, H hidden units, S directions (1 or 2).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lit_models.classifier import Classifier
from lit_models.initialisation import Init
from lit_models.input_kinds import Reads
from lit_models.readout import Readout, check_recurrent, read_out, with_output
from lit_models.recurrence import Cell, Recurrence
from lit_models.regressor import Regressor


class SequenceClassifier(Classifier):
    """A recurrent network for sequences of numbers that tells classes apart: a plain RNN, an LSTM or a GRU.

    It reads sequences (T, F), or images (channels, height, width) row by row from the top, as `height` steps of
    channels times width numbers: MNIST is then a sequence of 28 steps of 28 (Le, Jaitly & Hinton 2015,
    arXiv:1504.00941, read pixels; rows are the shorter form). Parameters are named
    `layers.features.recurrence.weight_ih_l0` (as torch names them) and `layers.head.output.weight`.

    Args:
        cell: rnn, lstm or gru.
        hidden_size: the units of each layer and direction.
        num_layers: layers on top of each other.
        bidirectional: whether every layer also reads from the end; the readout is then twice as wide.
        readout: last, the state after the last step (and, backwards, after the first), which asks the cell to
            remember; mean or max, of each unit over the steps.
        init: where weights and biases start, see `initialise`; unless asked, as in plain PyTorch.
        forget_bias: where the forget gates' bias of an LSTM starts, after `init`; 1 or 2 lets it remember from the
            beginning (Jozefowicz et al. 2015). None leaves it to `init`.
        dropout: the probability with which an output of a recurrent layer below another, or of the readout, is set to
            zero in training, 0 <= dropout < 1; 0 builds no dropout layer.
        options: optimizer, lr_scheduler, head, loss, l1, l2, input_shape and num_classes, see `Classifier`.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

    >>> model = SequenceClassifier("gru", hidden_size=16, input_shape=(1, 28, 28), num_classes=10)
    >>> model.layers.features
    SequenceReading(
      (recurrence): Recurrence(
        gru, 16, num_layers=1, bidirectional=False
        (dropout): Identity()
      )
    )
    >>> model(torch.zeros(32, 1, 28, 28)).shape
    torch.Size([32, 10])
    """

    reads: ClassVar[Reads] = "numbers"

    def __init__(
        self,
        cell: Cell = "lstm",
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        readout: Readout = "last",
        init: Init = "default",
        forget_bias: float | None = None,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        make_layers = _recipe(
            type(self).__name__,
            bidirectional=bidirectional,
            cell=cell,
            hidden_size=hidden_size,
            num_layers=num_layers,
            readout=readout,
            init=init,
            forget_bias=forget_bias,
            dropout=dropout,
        )
        super().__init__(make_layers, **options)


class SequenceRegressor(Regressor):
    """A recurrent network for sequences of numbers (T, F) that predicts numbers, as for `datamodules.AddingProblem`.

    Args:
        cell: rnn, lstm or gru.
        hidden_size: the units of each layer and direction.
        num_layers: layers on top of each other.
        bidirectional: whether every layer also reads from the end; the readout is then twice as wide.
        readout: last, mean or max, see `SequenceClassifier`.
        init: where weights and biases start, see `initialise`; unless asked, as in plain PyTorch.
        forget_bias: where the forget gates' bias of an LSTM starts, after `init`; None leaves it to `init`.
        dropout: the probability with which an output of a recurrent layer below another, or of the readout, is set to
            zero in training, 0 <= dropout < 1; 0 builds no dropout layer.
        options: optimizer, lr_scheduler, loss, l1, l2, input_shape and num_outputs, see `Regressor`.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

    >>> SequenceRegressor("lstm", input_shape=(100, 2), num_outputs=1)(torch.zeros(32, 100, 2)).shape
    torch.Size([32, 1])
    """

    reads: ClassVar[Reads] = "numbers"

    def __init__(
        self,
        cell: Cell = "lstm",
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        readout: Readout = "last",
        init: Init = "default",
        forget_bias: float | None = None,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        make_layers = _recipe(
            type(self).__name__,
            bidirectional=bidirectional,
            cell=cell,
            hidden_size=hidden_size,
            num_layers=num_layers,
            readout=readout,
            init=init,
            forget_bias=forget_bias,
            dropout=dropout,
        )
        super().__init__(make_layers, **options)


class SequenceReading(nn.Module):
    """What recurrent layers make of a sequence of numbers or of an image's rows: (B, T, F) or (B, C, T, W) -> (B, S H).

    Args:
        recurrence: the recurrent layers.
        readout: last, mean or max.

    >>> SequenceReading(Recurrence("rnn", 6, 5), readout="max")(torch.zeros(2, 3, 4, 2)).shape
    torch.Size([2, 5])
    """

    def __init__(self, recurrence: Recurrence, *, readout: Readout) -> None:
        super().__init__()
        self.recurrence = recurrence
        self.readout = readout

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (B, T, F) or (B, C, T, W) -> (B, S H)."""
        steps = inputs if inputs.dim() == 3 else inputs.movedim(1, 2).flatten(2)  # noqa: PLR2004
        is_there = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
        states: Tensor = self.recurrence(steps, is_there.sum(dim=1))
        return read_out(states, is_there, self.recurrence.hidden_size, self.readout)


def _recipe(owner: str, *, bidirectional: bool, **arguments: Any) -> Callable[..., nn.Module]:
    check_recurrent(owner, **arguments)
    return partial(_make_layers, owner, bidirectional=bidirectional, **arguments)


def _make_layers(
    owner: str,
    input_shape: Sequence[int],
    num_outputs: int,
    *,
    cell: Cell,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    readout: Readout,
    init: Init,
    forget_bias: float | None,
    dropout: float,
) -> nn.Module:
    if len(input_shape) not in {2, 3}:
        raise ValueError(
            f"{owner}: input_shape is {tuple(input_shape)}; accepted: (steps, numbers at a step), or an image "
            "(channels, height, width), which is read row by row"
        )
    channels = input_shape[0] if len(input_shape) == 3 else 1  # noqa: PLR2004
    recurrence = Recurrence(
        cell,
        channels * input_shape[-1],
        hidden_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        dropout=dropout,
    )
    features = SequenceReading(recurrence, readout=readout)
    return with_output(features, recurrence, num_outputs, init=init, forget_bias=forget_bias, dropout=dropout)

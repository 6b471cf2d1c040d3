"""Recurrent networks for sequences of numbers.

Shapes: B batch, T steps, F numbers at a step, H hidden units, S directions (1 or 2).
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from ablation_suite.argument_checks import check_choice, check_integer, check_rate
from lit_models.classifier import Classifier
from lit_models.initialisation import Init, initialise
from lit_models.input_kinds import InputKind
from lit_models.network import Network
from lit_models.readout import Readout, read_out
from lit_models.recurrence import Cell, Recurrence
from lit_models.regressor import Regressor


class SequenceNetwork(Network):
    """Base class of recurrent networks; a subclass also derives from `Classifier` or `Regressor`.

    Args:
        cell: rnn, lstm or gru.
        hidden_size: the units of each layer and direction.
        num_layers: the number of stacked layers.
        bidirectional: whether each layer also reads backwards; the readout is then twice as wide.
        readout: last, the state after the last step (and, backwards, after the first), which requires the cell to
            remember; mean or max, of each unit over the steps.
        init: initial values of weights and biases, see `initialise`; PyTorch's by default.
        forget_bias: initial bias of an LSTM's forget gates, set after `init`; with 1 or 2 it remembers from the
            beginning (Jozefowicz et al. 2015). None leaves it to `init`.
        dropout: the probability with which an output of a recurrent layer below another, or of the readout, is set to
            zero in training, 0 <= dropout < 1; 0 builds no dropout layer.
        options: see the subclass's other base.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.
    """

    input_kind: ClassVar[InputKind] = "numbers"

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
        owner = type(self).__name__
        check_choice(owner, "cell", cell, get_args(Cell))
        check_integer(owner, "hidden_size", hidden_size)
        check_integer(owner, "num_layers", num_layers)
        check_choice(owner, "readout", readout, get_args(Readout))
        check_choice(owner, "init", init, get_args(Init))
        if forget_bias is not None and cell != "lstm":
            raise ValueError(
                f"{owner}: forget_bias is {forget_bias!r}, and cell {cell!r} has no forget gate; accepted: None"
            )
        check_rate(owner, "dropout", dropout)
        self.cell, self.hidden_size, self.num_layers, self.bidirectional = cell, hidden_size, num_layers, bidirectional
        self.readout, self.init, self.forget_bias, self.dropout = readout, init, forget_bias, dropout
        super().__init__(**options)

    def make_layers(self, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
        """Return features, dropout and a linear output, initialised: (B, *input_shape) -> (B, num_outputs)."""
        features = self.make_features(input_shape)
        layers: OrderedDict[str, nn.Module] = OrderedDict(features=features)
        if self.dropout > 0:
            layers["dropout"] = nn.Dropout(self.dropout)
        output = nn.Linear(self.hidden_size * (1 + self.bidirectional), num_outputs)
        layers["head"] = nn.Sequential(OrderedDict(output=output))
        network = nn.Sequential(layers)
        initialise(network, self.init)
        if self.forget_bias is not None:
            features.recurrence.set_forget_bias(self.forget_bias)
        return network

    def make_features(self, input_shape: Sequence[int]) -> Any:
        """Return a module with the recurrent layers as its `recurrence`: (B, *input_shape) -> (B, S H)."""
        if len(input_shape) not in {2, 3}:
            raise ValueError(
                f"{type(self).__name__}: input_shape is {tuple(input_shape)}; accepted: (steps, numbers at a step), or "
                "an image (channels, height, width), which is read row by row"
            )
        channels = input_shape[0] if len(input_shape) == 3 else 1  # noqa: PLR2004
        return SequenceReading(self.make_recurrence(channels * input_shape[-1]), readout=self.readout)

    def make_recurrence(self, input_size: int) -> Recurrence:
        """Return the recurrent layers. input_size: the numbers at a step."""
        return Recurrence(
            self.cell,
            input_size,
            self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
        )


class SequenceClassifier(SequenceNetwork, Classifier):
    """A recurrent network that classifies sequences of numbers: a plain RNN, an LSTM or a GRU.

    It reads sequences (T, F), or images (channels, height, width) row by row from the top, as `height` steps of
    channels times width numbers: MNIST is then a sequence of 28 steps of 28 (Le, Jaitly & Hinton 2015,
    arXiv:1504.00941, read pixels; rows are the shorter form). Parameters are named
    `layers.features.recurrence.weight_ih_l0` (as in torch) and `layers.head.output.weight`.

    Its arguments are those of `SequenceNetwork`, and optimizer, lr_scheduler, head, loss, l1, l2, input_shape and
    num_classes of `Classifier`.

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


class SequenceRegressor(SequenceNetwork, Regressor):
    """A recurrent network for sequences of numbers (T, F) that predicts numbers, as for `datamodules.AddingProblem`.

    Its arguments are those of `SequenceNetwork`, and optimizer, lr_scheduler, loss, l1, l2, input_shape and num_outputs
    of `Regressor`.

    >>> SequenceRegressor("lstm", input_shape=(100, 2), num_outputs=1)(torch.zeros(32, 100, 2)).shape
    torch.Size([32, 1])
    """


class SequenceReading(nn.Module):
    """Recurrent layers over a sequence of numbers or an image's rows: (B, T, F) or (B, C, T, W) -> (B, S H).

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
        """Return the readout. inputs: (B, T, F) or (B, C, T, W) -> (B, S H)."""
        steps = inputs if inputs.dim() == 3 else inputs.movedim(1, 2).flatten(2)  # noqa: PLR2004
        mask = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
        states: Tensor = self.recurrence(steps, mask.sum(dim=1))
        return read_out(states, mask, self.recurrence.hidden_size, self.readout)

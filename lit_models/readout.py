"""What is read from the states of recurrent layers, and the layers after them: for texts and sequences of numbers.

Shapes: B batch, L length, H hidden units, S directions (1 or 2).
"""

from collections import OrderedDict
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ablation_suite.argument_checks import check_choice, check_integer, check_rate
from lit_models.initialisation import Init, initialise
from lit_models.recurrence import Cell, Recurrence

Readout = Literal["last", "mean", "max"]


def check_recurrent(
    owner: str,
    *,
    cell: Cell,
    hidden_size: int,
    num_layers: int,
    readout: Readout,
    init: Init,
    forget_bias: float | None,
    dropout: float,
) -> None:
    """Raise unless a recurrent network can be made with these arguments.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

    >>> check_recurrent("Recurrent", cell="gru", hidden_size=8, num_layers=1, readout="last", init="he",
    ...                 forget_bias=1.0, dropout=0.0)
    Traceback (most recent call last):
    ValueError: Recurrent: forget_bias is 1.0, and cell 'gru' has no forget gate; accepted: None
    """
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


def read_out(states: Tensor, is_there: Tensor, hidden_size: int, readout: Readout) -> Tensor:
    """One vector for each sequence, from its states: (B, L, S H) -> (B, S H).

    Arguments:
        states: zero where nothing is.
        is_there: (B, L), bool, where a sequence has something; from its beginning on, without gaps.
        hidden_size: H.
        readout: last, the state after the last step (and, backwards, after the first); mean or max, of each unit over
            the steps. Of an empty sequence each is zero.
    """
    lengths = is_there.sum(dim=1)
    if readout == "mean":
        return states.sum(dim=1) / lengths.clamp(min=1).unsqueeze(1)
    if readout == "max":
        largest = states.masked_fill(~is_there.unsqueeze(-1), -torch.inf).max(dim=1).values
        return largest.masked_fill((lengths == 0).unsqueeze(1), 0.0)
    last = (lengths - 1).clamp(min=0).view(-1, 1, 1)
    ahead = states[..., :hidden_size].take_along_dim(last, dim=1).squeeze(1)
    return torch.cat([ahead, states[:, 0, hidden_size:]], dim=-1)  # backwards, the state after the first step


def with_output(
    features: nn.Module,
    recurrence: Recurrence,
    num_outputs: int,
    *,
    init: Init,
    forget_bias: float | None,
    dropout: float,
) -> nn.Module:
    """Features (B, ...) -> (B, S H), dropout on them, and a linear output, initialised: -> (B, num_outputs).

    Arguments:
        features: what reads; it has the recurrent layers in it.
        recurrence: these layers.
        num_outputs: of the linear output.
        init: see `initialise`.
        forget_bias: where the bias of an LSTM's forget gates starts, after `init`; None leaves it.
        dropout: the rate; 0 builds no layer.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(features=features)
    if dropout > 0:
        layers["dropout"] = nn.Dropout(dropout)
    output = nn.Linear(recurrence.hidden_size * len(recurrence.directions), num_outputs)
    layers["head"] = nn.Sequential(OrderedDict(output=output))
    network = nn.Sequential(layers)
    initialise(network, init)
    if forget_bias is not None:
        recurrence.start_forget_bias(forget_bias)
    return network

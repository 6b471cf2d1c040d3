"""Recurrent layers as a loop over time, which `torch.func.vmap` can batch; torch's own it cannot.

Shapes: B batch, L length, D features of a token, H hidden units, G gates, S directions (1 or 2).
"""

from collections.abc import Callable
from math import sqrt
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from ablation_suite.argument_checks import check_choice, check_integer, check_rate

Cell = Literal["rnn", "lstm", "gru"]
State = tuple[Tensor, ...]
"""What a cell keeps from one token to the next; the hidden state (B, H) comes first."""


class Recurrence(nn.Module):
    """One or more recurrent layers over texts of different lengths, in one or both directions.

    Values and parameters are those of `nn.RNN`, `nn.LSTM` and `nn.GRU` on packed sequences: parameters have the same
    names (`weight_ih_l0`, `bias_hh_l1_reverse`), shapes, order and start, U(-1/sqrt(H), 1/sqrt(H)), and a state_dict of
    one loads into the other.

    - rnn: h = tanh(W x + b + U h + c) (Elman 1990).
    - lstm: (i, f, g, o) = W x + b + U h + c; s = sigmoid(f) s + sigmoid(i) tanh(g); h = sigmoid(o) tanh(s) (Hochreiter
      & Schmidhuber 1997, with the forget gate of Gers et al. 2000).
    - gru: (r, z, n) = W x + b and (r', z', n') = U h + c; m = tanh(n + sigmoid(r + r') n'); u = sigmoid(z + z');
      h = (1 - u) m + u h (Cho et al. 2014, with the reset after the product, as torch has it).

    The inputs of all tokens are multiplied at once; what is left for the loop is one product a token. Padding needs no
    masks in the loop: it comes after the text, in the backward direction too, since that reads each text turned round
    within its own length; so it changes no state that is read.

    Args:
        cell: rnn, lstm or gru.
        input_size: D, the features of a token.
        hidden_size: H, the units of each layer and direction.
        num_layers: layers on top of each other.
        bidirectional: whether every layer also reads from the end; each layer then has 2 H features a token.
        dropout: the probability with which an output of a layer that has another on top is set to zero in training.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

    >>> layers = Recurrence("gru", input_size=8, hidden_size=16, bidirectional=True)
    >>> layers(torch.zeros(4, 20, 8), lengths=torch.tensor([20, 3, 1, 0])).shape
    torch.Size([4, 20, 32])
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        name = type(self).__name__
        check_choice(name, "cell", cell, get_args(Cell))
        check_integer(name, "input_size", input_size)
        check_integer(name, "hidden_size", hidden_size)
        check_integer(name, "num_layers", num_layers)
        check_rate(name, "dropout", dropout)
        super().__init__()
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.directions = ("", "_reverse") if bidirectional else ("",)
        self.dropout = nn.Dropout(dropout) if dropout > 0 and num_layers > 1 else nn.Identity()
        bound = 1 / sqrt(hidden_size)
        rows = _GATES[cell] * hidden_size
        for layer in range(num_layers):
            columns = input_size if layer == 0 else hidden_size * len(self.directions)
            for direction in self.directions:
                shapes = {"weight_ih": (rows, columns), "weight_hh": (rows, hidden_size)}
                for kind, shape in (shapes | {"bias_ih": (rows,), "bias_hh": (rows,)}).items():
                    start = torch.empty(shape).uniform_(-bound, bound)
                    self.register_parameter(f"{kind}_l{layer}{direction}", nn.Parameter(start))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """The hidden states of the last layer at each token, zero at padding.

        Arguments:
            inputs: (B, L, D).
            lengths: (B,), int64, the tokens of each text before its padding; 0 is accepted.

        Returns:
            (B, L, S H), in each row first the forward and then the backward state.
        """
        times = torch.arange(inputs.shape[1], device=inputs.device)
        turned = (lengths.unsqueeze(1) - 1 - times) % inputs.shape[1]  # turned twice, a text is as it was
        outputs = inputs
        for layer in range(self.num_layers):
            inputs = outputs if layer == 0 else self.dropout(outputs)
            outputs = self._read(inputs, f"_l{layer}")
            if len(self.directions) > 1:
                backward = self._read(_reordered(inputs, turned), f"_l{layer}_reverse")
                outputs = torch.cat([outputs, _reordered(backward, turned)], dim=-1)
        return outputs * (times < lengths.unsqueeze(1)).unsqueeze(-1)

    def gates(self, kind: Literal["weight_ih", "weight_hh", "bias_ih", "bias_hh"]) -> list[tuple[Tensor, ...]]:
        """One kind of parameter, for each layer and direction, cut into its gates: views (H, columns) or (H,)."""
        suffixes = [f"_l{layer}{direction}" for layer in range(self.num_layers) for direction in self.directions]
        return [getattr(self, kind + suffix).detach().chunk(_GATES[self.cell]) for suffix in suffixes]

    def start_forget_bias(self, value: float) -> None:
        """Set the bias of an LSTM's forget gates, bias_ih and bias_hh together, to `value`.

        Raises:
            ValueError: the cell is no LSTM.
        """
        if self.cell != "lstm":
            raise ValueError(f"{type(self).__name__}: cell {self.cell!r} has no forget gate")
        for _, forget, *_ in self.gates("bias_ih"):
            forget.fill_(value)
        for _, forget, *_ in self.gates("bias_hh"):
            forget.zero_()

    def extra_repr(self) -> str:
        """What torch prints between the parentheses."""
        return (
            f"{self.cell}, {self.hidden_size}, num_layers={self.num_layers}, bidirectional={len(self.directions) > 1}"
        )

    def _read(self, inputs: Tensor, suffix: str) -> Tensor:
        """The states of one direction of one layer, (B, L, D) -> (B, L, H)."""
        weight, recurrent_weight, bias, recurrent_bias = (
            getattr(self, kind + suffix) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        if self.cell != "gru":  # both biases are only ever added
            bias = bias + recurrent_bias
        step, transposed = _STEPS[self.cell], recurrent_weight.t()
        state = (inputs.new_zeros(inputs.shape[0], self.hidden_size),) * _STATES[self.cell]
        hidden = []
        for given in functional.linear(inputs, weight, bias).unbind(1):
            state = step(given, state, transposed, recurrent_bias)
            hidden.append(state[0])
        return torch.stack(hidden, dim=1)


# given: (B, G H), what the token adds to the gates; weight: (H, G H); bias: (G H,), c in the table above.


def _rnn(given: Tensor, state: State, weight: Tensor, bias: Tensor) -> State:  # noqa: ARG001  # in `given` already
    return (torch.addmm(given, state[0], weight).tanh(),)


def _lstm(given: Tensor, state: State, weight: Tensor, bias: Tensor) -> State:  # noqa: ARG001  # in `given` already
    hidden, memory = state
    entry, forget, content, out = torch.addmm(given, hidden, weight).chunk(4, dim=-1)
    memory = forget.sigmoid() * memory + entry.sigmoid() * content.tanh()
    return out.sigmoid() * memory.tanh(), memory


def _gru(given: Tensor, state: State, weight: Tensor, bias: Tensor) -> State:
    (hidden,) = state
    reset_x, update_x, content_x = given.chunk(3, dim=-1)
    reset_h, update_h, content_h = torch.addmm(bias, hidden, weight).chunk(3, dim=-1)
    candidate = (content_x + (reset_x + reset_h).sigmoid() * content_h).tanh()
    return (torch.lerp(candidate, hidden, (update_x + update_h).sigmoid()),)


_STEPS: dict[str, Callable[[Tensor, State, Tensor, Tensor], State]] = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}
_STATES = {"rnn": 1, "lstm": 2, "gru": 1}


def _reordered(values: Tensor, order: Tensor) -> Tensor:
    """values[b, order[b, t]]: (B, L, D) and (B, L) -> (B, L, D)."""
    return values.take_along_dim(order.unsqueeze(-1), dim=1)

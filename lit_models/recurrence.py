"""Recurrent layers as a loop over time, which `torch.func.vmap` can batch, unlike torch's.

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
"""State of a cell between tokens; the hidden state (B, H) is the first tensor."""


class Recurrence(nn.Module):
    """Recurrent layers over texts of different lengths, in one or both directions.

    They compute the same as `nn.RNN`, `nn.LSTM` and `nn.GRU` on packed sequences. Parameters have the same names
    (`weight_ih_l0`, `bias_hh_l1_reverse`), shapes, order and initial distribution, U(-1/sqrt(H), 1/sqrt(H)), so that
    state_dicts are interchangeable.

    - rnn: h = tanh(W x + b + U h + c) (Elman 1990).
    - lstm: (i, f, g, o) = W x + b + U h + c; s = sigmoid(f) s + sigmoid(i) tanh(g); h = sigmoid(o) tanh(s) (Hochreiter
      & Schmidhuber 1997, with the forget gate of Gers et al. 2000).
    - gru: (r, z, n) = W x + b and (r', z', n') = U h + c; m = tanh(n + sigmoid(r + r') n'); u = sigmoid(z + z');
      h = (1 - u) m + u h (Cho et al. 2014, with the reset after the product, as in torch).

    One product multiplies the inputs of all tokens; the loop has one further product per token. It needs no masks:
    padding follows the text, also in the backward direction, which reads each text reversed within its length, so
    padding changes no state that is used.

    Args:
        cell: rnn, lstm or gru.
        input_size: D, the features of a token.
        hidden_size: H, the units of each layer and direction.
        num_layers: the number of stacked layers.
        bidirectional: whether each layer also reads backwards; its output then has 2 H features per token.
        dropout: the probability with which an output of a layer below another is set to zero in training.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

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
        """Return the hidden states of the last layer at each token, zero at padding.

        Args:
            inputs: (B, L, D).
            lengths: (B,), int64, the number of tokens of each text without padding; may be 0.

        Returns:
            (B, L, S H), the forward state, then the backward state.
        """
        times = torch.arange(inputs.shape[1], device=inputs.device)
        reversal = (lengths.unsqueeze(1) - 1 - times) % inputs.shape[1]  # its own inverse
        outputs = inputs
        for layer in range(self.num_layers):
            inputs = outputs if layer == 0 else self.dropout(outputs)
            outputs = self._run_direction(inputs, f"_l{layer}")
            if len(self.directions) > 1:
                backward = self._run_direction(_reorder(inputs, reversal), f"_l{layer}_reverse")
                outputs = torch.cat([outputs, _reorder(backward, reversal)], dim=-1)
        return outputs * (times < lengths.unsqueeze(1)).unsqueeze(-1)

    def split_gates(self, kind: Literal["weight_ih", "weight_hh", "bias_ih", "bias_hh"]) -> list[tuple[Tensor, ...]]:
        """Return views (H, columns) or (H,) of the gates of a kind of parameter, for each layer and direction."""
        suffixes = [f"_l{layer}{direction}" for layer in range(self.num_layers) for direction in self.directions]
        return [getattr(self, kind + suffix).detach().chunk(_GATES[self.cell]) for suffix in suffixes]

    def set_forget_bias(self, value: float) -> None:
        """Set the bias of an LSTM's forget gates, the sum of bias_ih and bias_hh, to `value`.

        Raises:
            ValueError: the cell is not an LSTM.
        """
        if self.cell != "lstm":
            raise ValueError(f"{type(self).__name__}: cell {self.cell!r} has no forget gate")
        for _, forget, *_ in self.split_gates("bias_ih"):
            forget.fill_(value)
        for _, forget, *_ in self.split_gates("bias_hh"):
            forget.zero_()

    def extra_repr(self) -> str:
        """Return the arguments that torch prints in parentheses."""
        return (
            f"{self.cell}, {self.hidden_size}, num_layers={self.num_layers}, bidirectional={len(self.directions) > 1}"
        )

    def _run_direction(self, inputs: Tensor, suffix: str) -> Tensor:
        """Return the states of one direction of one layer: (B, L, D) -> (B, L, H)."""
        weight, recurrent_weight, bias, recurrent_bias = (
            getattr(self, kind + suffix) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        if self.cell != "gru":  # both biases are added to the same sum
            bias = bias + recurrent_bias
        step, transposed = _STEPS[self.cell], recurrent_weight.t()
        state = (inputs.new_zeros(inputs.shape[0], self.hidden_size),) * _STATES[self.cell]
        hidden = []
        for of_inputs in functional.linear(inputs, weight, bias).unbind(1):
            state = step(of_inputs, state, transposed, recurrent_bias)
            hidden.append(state[0])
        return torch.stack(hidden, dim=1)


# of_inputs: (B, G H), the inputs' part of the gates; weight: (H, G H); bias: (G H,), c in the formulas above.


def _step_rnn(of_inputs: Tensor, state: State, weight: Tensor, bias: Tensor) -> State:  # noqa: ARG001  # already in `of_inputs`
    return (torch.addmm(of_inputs, state[0], weight).tanh(),)


def _step_lstm(of_inputs: Tensor, state: State, weight: Tensor, bias: Tensor) -> State:  # noqa: ARG001  # already in `of_inputs`
    hidden, memory = state
    entry, forget, content, out = torch.addmm(of_inputs, hidden, weight).chunk(4, dim=-1)
    memory = forget.sigmoid() * memory + entry.sigmoid() * content.tanh()
    return out.sigmoid() * memory.tanh(), memory


def _step_gru(of_inputs: Tensor, state: State, weight: Tensor, bias: Tensor) -> State:
    (hidden,) = state
    reset_x, update_x, content_x = of_inputs.chunk(3, dim=-1)
    reset_h, update_h, content_h = torch.addmm(bias, hidden, weight).chunk(3, dim=-1)
    candidate = (content_x + (reset_x + reset_h).sigmoid() * content_h).tanh()
    return (torch.lerp(candidate, hidden, (update_x + update_h).sigmoid()),)


_STEPS: dict[str, Callable[[Tensor, State, Tensor, Tensor], State]] = {
    "rnn": _step_rnn,
    "lstm": _step_lstm,
    "gru": _step_gru,
}
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}
_STATES = {"rnn": 1, "lstm": 2, "gru": 1}


def _reorder(values: Tensor, order: Tensor) -> Tensor:
    """Return values[b, order[b, t]]: (B, L, D) and (B, L) -> (B, L, D)."""
    return values.take_along_dim(order.unsqueeze(-1), dim=1)

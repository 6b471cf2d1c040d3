"""What is read from the states of recurrent layers, and the layers after them: for texts and sequences of numbers.

Shapes: B batch, L length, H hidden units, S directions (1 or 2).
"""

from typing import Literal

import torch
from torch import Tensor

Readout = Literal["last", "mean", "max"]


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

"""Readouts: one vector from the states of recurrent layers.

Shapes: B batch, L length, H hidden units, S directions (1 or 2).
"""

from typing import Literal

import torch
from torch import Tensor

Readout = Literal["last", "mean", "max"]


def read_out(states: Tensor, mask: Tensor, hidden_size: int, readout: Readout) -> Tensor:
    """Reduce the states of each sequence to one vector: (B, L, S H) -> (B, S H).

    Args:
        states: (B, L, S H), zero at padding.
        mask: (B, L), bool, False at padding, which is only at the end.
        hidden_size: H.
        readout: last, the state after the last step (and, backwards, after the first); mean or max, of each unit over
            the steps. All are zero for an empty sequence.
    """
    lengths = mask.sum(dim=1)
    if readout == "mean":
        return states.sum(dim=1) / lengths.clamp(min=1).unsqueeze(1)
    if readout == "max":
        largest = states.masked_fill(~mask.unsqueeze(-1), -torch.inf).max(dim=1).values
        return largest.masked_fill((lengths == 0).unsqueeze(1), 0.0)
    last = (lengths - 1).clamp(min=0).view(-1, 1, 1)
    ahead = states[..., :hidden_size].take_along_dim(last, dim=1).squeeze(1)
    return torch.cat([ahead, states[:, 0, hidden_size:]], dim=-1)  # backwards, the state after the first step

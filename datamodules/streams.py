"""Random orders from a seed, apart from torch's global generator.

Making a model, or a mask of dropout, draws from the global generator; if the order of the data did too, a factor that
adds a layer would also change the order, and trials of one seed would no longer be paired.
"""

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What an order is for; streams of one seed are independent. Numbers are never reused: splits depend on them."""

    SPLIT = 1
    ORDER = 2
    FOLDS = 3
    PIXELS = 4


def permutation(num_examples: int, *, stream: Stream, seed: int, epoch: int = 0) -> Tensor:
    """A random order of 0, 1, ..., num_examples - 1: (num_examples,), int64. Equal arguments give equal orders.

    Raises:
        ValueError: `seed` or `epoch` is negative.

    >>> permutation(5, stream=Stream.ORDER, seed=1).tolist() == permutation(5, stream=Stream.ORDER, seed=1).tolist()
    True
    """
    # The seed stands last: it may fill several 32-bit words, and nothing after it could then be mistaken for one.
    generator = np.random.default_rng([stream, epoch, seed])
    return torch.from_numpy(generator.permutation(num_examples))

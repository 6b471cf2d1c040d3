"""Random orders from a seed, independent of torch's global generator.

Initial values and dropout masks use the global generator. If the order of the data did too, a factor that adds a layer
would also change the order, and trials of one seed would no longer be paired.
"""

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """Purposes of random orders; streams of one seed are independent. Numbers never change: splits depend on them."""

    SPLIT = 1
    ORDER = 2
    FOLDS = 3
    PIXELS = 4


def draw_permutation(num_examples: int, *, stream: Stream, seed: int, epoch: int = 0) -> Tensor:
    """Draw an order of 0, 1, ..., num_examples - 1: (num_examples,), int64. Equal arguments give equal orders.

    Raises:
        ValueError: `seed` or `epoch` is negative.

    >>> first, second = (draw_permutation(5, stream=Stream.ORDER, seed=1) for _ in range(2))
    >>> torch.equal(first, second)
    True
    """
    # The seed is last: it may take several 32-bit words, which would be ambiguous before other numbers.
    generator = np.random.default_rng([stream, epoch, seed])
    return torch.from_numpy(generator.permutation(num_examples))

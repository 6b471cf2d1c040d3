"""The adding problem: a task that requires memory."""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation_suite.argument_checks import check_integer
from datamodules.in_memory import BatchSize
from datamodules.splits import Size
from datamodules.tensors import TensorDataModule


class AddingProblem(TensorDataModule):
    """Sequences (T, 2) of a value and a marker; the target is the sum of the two values whose marker is 1.

    Values are from U(0, 1). One marker is 1 at a random step of the first half, another in the second half; all others
    are 0. Predicting 1 for every sequence has a mean squared error of 1/6, the variance of the sum; a lower error
    requires memory, over T / 2 steps on average and at most T - 1. The problem is experiment 4 of Hochreiter &
    Schmidhuber 1997 (Long short-term memory) in the form of Le, Jaitly & Hinton 2015 (arXiv:1504.00941): all sequences
    have the same length, values begin at 0 instead of -1, and the sum is not rescaled.

    Args:
        length: T, the steps of a sequence, at least 2.
        num_sequences: the number of sequences, from which splits are drawn.
        sequences_seed: the seed of the sequences; `seed` is the seed of the split.
        batch_size: sequences in a training batch, at least 1, or "all".
        val_size: a number of sequences, or a fraction of them, or 0 for no validation.
        options: train_size, test_size, folds, fold, seed and eval_batch_size, see `TensorDataModule`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    >>> data = AddingProblem(length=50, num_sequences=1000, batch_size=32, seed=1)
    >>> data.setup()
    >>> inputs, target = next(iter(data.train_dataloader()))
    >>> inputs.shape, target.shape
    (torch.Size([32, 50, 2]), torch.Size([32, 1]))
    """

    num_outputs = 1

    def __init__(
        self,
        length: int = 100,
        *,
        num_sequences: int = 12_000,
        sequences_seed: int = 0,
        batch_size: BatchSize = 50,
        val_size: Size = 0.1,
        **options: Any,
    ) -> None:
        owner = type(self).__name__
        check_integer(owner, "length", length, minimum=2)
        check_integer(owner, "num_sequences", num_sequences, minimum=1)
        check_integer(owner, "sequences_seed", sequences_seed, minimum=0)
        self.length, self.pool_size, self.sequences_seed = length, num_sequences, sequences_seed
        self.input_shape = (length, 2)
        super().__init__(batch_size=batch_size, val_size=val_size, **options)

    def load(self) -> tuple[Tensor, Tensor]:
        """Return all sequences: inputs (num_sequences, length, 2) and target (num_sequences, 1), float32; cached."""
        return _load(self.pool_size, self.length, self.sequences_seed)

    def notes(self) -> list[str]:
        """Return notes for the report: the error of a constant prediction."""
        return ["Adding problem: predicting 1 for every sequence has a mean squared error of 1/6 = 0.167."]


def draw_sequences(num_sequences: int, length: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw sequences (N, T, 2) of values and markers, and the sums of the marked values (N, 1).

    >>> sequences, sums = draw_sequences(1000, length=10, seed=0)
    >>> bool(np.allclose(sums[:, 0], (sequences[..., 0] * sequences[..., 1]).sum(axis=1)))
    True
    """
    draws = np.random.default_rng([seed, length, num_sequences])
    values = draws.uniform(size=(num_sequences, length)).astype(np.float32)
    first = draws.integers(length // 2, size=num_sequences)
    second = draws.integers(length // 2, length, size=num_sequences)
    rows = np.arange(num_sequences)
    markers = np.zeros_like(values)
    markers[rows, first] = markers[rows, second] = 1
    sums = values[rows, first] + values[rows, second]
    return np.stack([values, markers], axis=-1), sums[:, None]


@cache
def _load(num_sequences: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    sequences, sums = draw_sequences(num_sequences, length, seed)
    return torch.from_numpy(sequences), torch.from_numpy(sums)

"""Which examples train, validate and test."""

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import NamedTuple

from torch import Tensor

from datamodules.streams import Stream, permutation

Size = int | float
"""A number of examples if an integer, a fraction of the pool if a float between 0 and 1."""


class Split(NamedTuple):
    """Indices into a data set, three tensors (num_examples,) of int64 without a common element."""

    train: Tensor
    val: Tensor
    test: Tensor


def draw_split(
    pool_size: int,
    *,
    train_size: Size,
    val_size: Size,
    test_size: Size,
    seed: int,
    owner: str = "draw_split",
) -> Split:
    """Split the examples 0, 1, ..., pool_size - 1 at random; equal arguments give equal splits.

    A size is a number of examples, or a fraction of the pool if it is a float. Fractions are read as the decimals that
    were written and rounded cumulatively, so that 0.7, 0.15 and 0.15 use every example of any pool. Examples beyond the
    three sizes are left out. The training examples come first in the order that is drawn, so a smaller training set is
    part of a larger one of the same seed.

    Args:
        pool_size: the number of examples to draw from.
        train_size: at least one example.
        val_size: 0 for none.
        test_size: 0 for none.
        seed: at least 0.
        owner: whom error messages name.

    Raises:
        ValueError: a size is not accepted, training would have no example, or the sizes exceed the pool.

    >>> [len(indices) for indices in draw_split(1_797, train_size=0.7, val_size=0.15, test_size=0.15, seed=1)]
    [1258, 269, 270]
    """
    sizes = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
    shares = [_examples(owner, name, size, pool_size) for name, size in sizes.items()]
    written = ", ".join(f"{name} {size}" for name, size in sizes.items())
    if sum(shares) > pool_size:
        counts = " + ".join(f"{float(share):g}" for share in shares)
        raise ValueError(
            f"{owner}: the sizes exceed the pool of {pool_size} examples: {written}, "
            f"together {counts} = {float(sum(shares)):g} examples"
        )
    train_end, val_end, test_end = _cumulative(shares)
    if train_end == 0:
        raise ValueError(f"{owner}: train_size {train_size} of {pool_size} examples leaves none for training")
    order = permutation(pool_size, stream=Stream.SPLIT, seed=seed)
    # Copies, lest a pickled split carries the whole order three times.
    return Split(order[:train_end].clone(), order[train_end:val_end].clone(), order[val_end:test_end].clone())


def _examples(owner: str, name: str, size: object, pool_size: int) -> Fraction:
    """The number of examples that a size asks for, not rounded yet."""
    if isinstance(size, int) and not isinstance(size, bool) and size >= (1 if name == "train_size" else 0):
        return Fraction(size)
    if isinstance(size, float) and 0 < size < 1:
        # Through repr, 0.15 is 15/100; the binary float is a little less, and three of them may exceed the pool.
        return Fraction(repr(size)) * pool_size
    accepted = "a positive number of examples" if name == "train_size" else "a number of examples, 0 for none"
    raise ValueError(f"{owner}: {name} is {size!r}; accepted: {accepted}, or a fraction of the pool between 0 and 1")


def _cumulative(shares: Sequence[Fraction]) -> list[int]:
    """Running totals, each rounded to the nearest whole, halves up: so a whole share keeps its exact size."""
    return [floor(sum(shares[: place + 1]) + Fraction(1, 2)) for place in range(len(shares))]

"""Splits into training, validation and test examples."""

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation_suite.argument_checks import check_integer, is_integer
from datamodules.streams import Stream, draw_permutation

Size = int | float
"""A number of examples if an integer, a fraction of the pool if a float between 0 and 1."""


class Split(NamedTuple):
    """Indices into a data set: three disjoint tensors (num_examples,), int64."""

    train: Tensor
    val: Tensor
    test: Tensor


def draw_split(
    pool_size: int,
    *,
    train_size: Size | None,
    val_size: Size,
    test_size: Size,
    seed: int,
    owner: str = "draw_split",
    labels: NDArray[np.int64] | None = None,
) -> Split:
    """Split the examples 0, 1, ..., pool_size - 1 at random; equal arguments give equal splits.

    A size is a number of examples, or a fraction of the pool if it is a float. Fractions are taken as decimals and
    rounded cumulatively, so that 0.7, 0.15 and 0.15 use every example of any pool. Examples beyond the three sizes are
    not used. Training examples are the first of the random order, so a smaller training set is a subset of a larger one
    with the same seed.

    Args:
        pool_size: the number of examples to draw from.
        train_size: at least one example; None for all examples outside validation and test.
        val_size: 0 for none.
        test_size: 0 for none.
        seed: at least 0.
        owner: the class named in error messages.
        labels: (pool_size,), the class of each example, for a stratified split; None for an unstratified one.

    Raises:
        ValueError: a size is not accepted, training would have no example, or the sizes exceed the pool.

    >>> [len(indices) for indices in draw_split(1_797, train_size=0.7, val_size=0.15, test_size=0.15, seed=1)]
    [1258, 269, 270]
    """
    given = {"train_size": train_size, "val_size": val_size, "test_size": test_size}
    sizes = {name: size for name, size in given.items() if size is not None}
    shares = {name: _count_examples(owner, name, size, pool_size) for name, size in sizes.items()}
    written = ", ".join(f"{name} {size}" for name, size in sizes.items())
    total = sum(shares.values())
    if total > pool_size:
        counts = " + ".join(f"{float(share):g}" for share in shares.values())
        raise ValueError(
            f"{owner}: the sizes exceed the pool of {pool_size} examples: {written}, "
            f"together {counts} = {float(total):g} examples"
        )
    if train_size is None:
        shares = {"train_size": pool_size - Fraction(total), **shares}
    train_end, val_end, test_end = _round_cumulatively([*shares.values()])
    if train_end == 0:
        cause = f"train_size {train_size}" if train_size is not None else written
        raise ValueError(f"{owner}: {cause} of {pool_size} examples leaves none for training")
    order = draw_permutation(pool_size, stream=Stream.SPLIT, seed=seed)
    if labels is not None:
        order = stratify(order, labels)
    # Copies, because pickling views would store the whole order three times.
    return Split(order[:train_end].clone(), order[train_end:val_end].clone(), order[val_end:test_end].clone())


def draw_fold(
    labels: NDArray[np.int64],
    *,
    num_folds: int,
    fold: int,
    repetition: int,
    seed: int,
    val_size: Size,
    owner: str = "draw_fold",
    class_names: Sequence[str] | None = None,
) -> Split:
    """Split for one fold of a stratified cross-validation: `fold` is the test split, the others train and validate.

    Every example is in the test split of one fold per repetition. Sizes of folds differ by at most one example, and so
    do the numbers of each class.

    Args:
        labels: (pool_size,), the class of each example.
        num_folds: at least 2.
        fold: from 0 to num_folds - 1.
        repetition: from 0; each has a different partition into folds.
        seed: the seed of the validation examples among the other folds, at least 0.
        val_size: a number of examples, or a fraction of the other folds; 0 for none.
        owner: the class named in error messages.
        class_names: the names of the classes in error messages.

    Raises:
        ValueError: a class has fewer examples than there are folds, or training would have no example.

    >>> split = draw_fold(np.array([0, 0, 1, 1, 1, 1]), num_folds=2, fold=0, repetition=0, seed=0, val_size=0)
    >>> [len(indices) for indices in split]
    [3, 0, 3]
    """
    counts = np.bincount(labels)
    rarest = int(np.where(counts > 0, counts, len(labels) + 1).argmin())
    if counts[rarest] < num_folds:
        name = rarest if class_names is None else repr(class_names[rarest])
        raise ValueError(
            f"{owner}: folds is {num_folds}, but class {name} has {counts[rarest]} examples; "
            f"accepted: at most {counts[rarest]}, so that each fold has one"
        )
    order = draw_permutation(len(labels), stream=Stream.FOLDS, seed=repetition)
    dealt = order[
        torch.from_numpy(np.argsort(labels[order.numpy()], kind="stable"))
    ]  # by class; then dealt to the folds in turn
    is_tested = torch.zeros(len(labels), dtype=torch.bool)
    is_tested[dealt[fold::num_folds]] = True
    others = torch.nonzero(~is_tested).flatten()
    inner = draw_split(
        len(others),
        train_size=None,
        val_size=val_size,
        test_size=0,
        seed=seed,
        owner=owner,
        labels=labels[others.numpy()],
    )
    return Split(others[inner.train], others[inner.val], torch.nonzero(is_tested).flatten())


def choose_fold(seed: int, num_folds: int, fold: int | None = None) -> tuple[int, int]:
    """Return the test fold and the repetition of a seed: seeds 0 to num_folds - 1 are the folds of repetition 0.

    Args:
        seed: at least 0.
        num_folds: at least 2.
        fold: a fold of repetition 0 for every seed; None takes the seed's.

    >>> choose_fold(3, num_folds=5), choose_fold(13, num_folds=5), choose_fold(13, num_folds=5, fold=0)
    ((3, 0), (3, 2), (0, 0))
    """
    return (seed % num_folds, seed // num_folds) if fold is None else (fold, 0)


def check_folds(
    owner: str, *, folds: int | None, fold: int | None, train_size: Size | None, test_size: Size | None
) -> None:
    """Raise unless the arguments of a cross-validation are valid; `folds` is None for none.

    Raises:
        ValueError: there are fewer than 2 folds, the fold does not exist, or a size is given that the folds determine.

    >>> check_folds("Digits", folds=5, fold=5, train_size=None, test_size=None)
    Traceback (most recent call last):
    ValueError: Digits: fold is 5 and folds is 5; accepted: from 0 up to folds - 1
    """
    if folds is not None:
        check_integer(owner, "folds", folds, minimum=2)
        if train_size is not None or test_size is not None:
            raise ValueError(f"{owner}: folds is {folds}, so the fold tests; train_size and test_size must be null")
    if fold is not None and (folds is None or not is_integer(fold, minimum=0) or fold >= folds):
        raise ValueError(f"{owner}: fold is {fold!r} and folds is {folds!r}; accepted: from 0 up to folds - 1")


def stratify(order: Tensor, labels: NDArray[np.int64]) -> Tensor:
    """Reorder examples so that any contiguous part has the classes in about the proportions of the whole.

    Within a class the order is kept. The k-th example of a class of n is placed at the fraction (k + 1/2) / n.

    Args:
        order: (N,), the examples, int64.
        labels: (N,), the class of each example.

    >>> stratify(torch.tensor([0, 1, 2, 3, 4, 5]), np.array([0, 0, 1, 1, 1, 1])).tolist()
    [2, 0, 3, 4, 1, 5]
    """
    labels = labels[order.numpy()]
    fraction = np.empty(len(order))
    for each in np.unique(labels):
        members = np.flatnonzero(labels == each)
        fraction[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[torch.from_numpy(np.lexsort((labels, fraction)))]


def check_size(owner: str, name: str, size: object) -> None:
    """Raise unless a size is a number of examples or a fraction of the pool; train_size is at least one example.

    Raises:
        ValueError: it is not.

    >>> check_size("Digits", "val_size", 1.5)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: Digits: val_size is 1.5; accepted: a number of examples, 0 for none, or a fraction of the pool betw...
    """
    if is_integer(size, minimum=1 if name == "train_size" else 0):
        return
    if isinstance(size, float) and (0 < size < 1 or (size > 1 and size.is_integer())):
        return  # integral floats too: parsers may read 400 as 400.0 for the type int | float
    accepted = "a positive number of examples" if name == "train_size" else "a number of examples, 0 for none"
    raise ValueError(f"{owner}: {name} is {size!r}; accepted: {accepted}, or a fraction of the pool between 0 and 1")


def _count_examples(owner: str, name: str, size: Size, pool_size: int) -> Fraction:
    """Return the number of examples of a size, unrounded."""
    check_size(owner, name, size)
    # repr makes 0.15 exactly 15/100; with binary floats, fractions whose sum is 1 may exceed the pool.
    return Fraction(size) if size >= 1 or size == 0 else Fraction(repr(size)) * pool_size


def _round_cumulatively(shares: Sequence[Fraction]) -> list[int]:
    """Return running totals, rounded to the nearest integer, halves up; an integer share keeps its size."""
    return [floor(sum(shares[: index + 1]) + Fraction(1, 2)) for index in range(len(shares))]

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from datamodules import draw_fold, draw_split
from datamodules.splits import stratify
from datamodules.streams import Stream, draw_permutation


def sizes_of(pool_size, train_size, val_size, test_size):
    split = draw_split(pool_size, train_size=train_size, val_size=val_size, test_size=test_size, seed=0)
    return [len(indices) for indices in split]


@pytest.mark.parametrize(
    ("pool_size", "sizes", "expected"),
    [
        (60_000, (0.35, 0.15, 0.5), [21_000, 9_000, 30_000]),
        (60_000, (55_000, 5_000, 0), [55_000, 5_000, 0]),
        (1_797, (0.7, 0.15, 0.15), [1258, 269, 270]),
        (10, (0.25, 0.25, 0.5), [3, 2, 5]),
        (100, (0.8, 0.1, 0.1), [80, 10, 10]),  # as binary floats, their sum exceeds 1
        (10, (1, 0, 0), [1, 0, 0]),
        (7, (0.5, 3, 0), [4, 3, 0]),
    ],
)
def test_sizes_by_hand(pool_size, sizes, expected):
    assert sizes_of(pool_size, *sizes) == expected


@st.composite
def pools_and_sizes(draw):
    """Draw a pool and three sizes that fit in it: counts or fractions with up to three decimals."""
    pool_size = draw(st.integers(1, 300))
    left, sizes = Fraction(1), []
    for name in ("train", "val", "test"):
        if draw(st.booleans()):
            count = draw(st.integers(1 if name == "train" else 0, max(int(left * pool_size), 0)))
            sizes.append(count)
            left -= Fraction(count, pool_size)
        else:
            thousandths = draw(st.integers(0, min(int(left * 1000), 999)))
            sizes.append(thousandths / 1000 if thousandths else 0)
            left -= Fraction(thousandths, 1000)
    return pool_size, sizes


@given(pools_and_sizes(), st.integers(0, 2**64))
def test_any_sizes_that_fit(pool_and_sizes, seed):
    pool_size, (train_size, val_size, test_size) = pool_and_sizes
    arguments = {"train_size": train_size, "val_size": val_size, "test_size": test_size, "seed": seed}
    if train_size == 0 or (isinstance(train_size, float) and train_size * pool_size < 0.5):
        with pytest.raises(ValueError, match="train"):
            draw_split(pool_size, **arguments)
        return
    split = draw_split(pool_size, **arguments)
    indices = torch.cat(split).tolist()
    assert len(set(indices)) == len(indices)
    assert set(indices) <= set(range(pool_size))
    exact = [
        Fraction(size) if isinstance(size, int) else Fraction(str(size)) * pool_size
        for size in (train_size, val_size, test_size)
    ]
    for count, size in zip(map(len, split), exact, strict=True):
        assert abs(count - size) < 1
        if size.denominator == 1:
            assert count == size
    if sum(exact) == pool_size:
        assert len(indices) == pool_size


@given(st.integers(2, 300), st.integers(1, 299), st.integers(0, 100))
def test_a_smaller_training_set_is_part_of_a_larger_one(pool_size, smaller, seed):
    smaller = min(smaller, pool_size - 1)
    small, large = (
        draw_split(pool_size, train_size=size, val_size=0, test_size=0, seed=seed).train.tolist()
        for size in (smaller, pool_size)
    )
    assert large[:smaller] == small


def test_the_draws_of_a_seed_never_change():
    """Studies can be resumed; a change here would train their remaining trials on other splits."""
    split = draw_split(10, train_size=5, val_size=3, test_size=2, seed=1)
    assert [indices.tolist() for indices in split] == [[5, 2, 6, 8, 1], [3, 4, 7], [0, 9]]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (900, 0.15, 0),
            (
                "draw_split: the sizes exceed the pool of 1000 examples: train_size 900, val_size 0.15, test_size 0, "
                "together 900 + 150 + 0 = 1050 examples"
            ),
        ),
        ((0.0001, 0, 0), "draw_split: train_size 0.0001 of 1000 examples leaves none for training"),
        (
            (-1, 0, 0),
            "draw_split: train_size is -1; accepted: a positive number of examples, or a fraction of the pool ",
        ),
        (
            (0.0, 0, 0),
            "draw_split: train_size is 0.0; accepted: a positive number of examples, or a fraction of the pool ",
        ),
        (
            (1.0, 0, 0),
            "draw_split: train_size is 1.0; accepted: a positive number of examples, or a fraction of the pool ",
        ),
        ((True, 0, 0), "draw_split: train_size is True; accepted: a positive number of examples, or a fraction "),
        (
            (1, float("nan"), 0),
            "draw_split: val_size is nan; accepted: a number of examples, 0 for none, or a fraction ",
        ),
        ((1, 0, "half"), "draw_split: test_size is 'half'; accepted: a number of examples, 0 for none, or a fraction "),
    ],
)
def test_sizes_that_are_refused(sizes, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        sizes_of(1000, *sizes)
    assert str(error.value).startswith(message)


labels_of_examples = st.lists(st.integers(0, 3), min_size=8, max_size=200).map(np.array)


@given(labels_of_examples, st.integers(2, 6), st.integers(0, 3), st.floats(0.05, 0.4))
@example(np.ones(8, dtype=int), 2, 0, 0.25)  # one class, which is not class 0
def test_folds_are_stratified_and_test_every_example_once(labels, num_folds, repetition, val_size):
    counts = np.bincount(labels)
    if counts[counts > 0].min() < num_folds:
        return
    tested = []
    for fold in range(num_folds):
        split = draw_fold(
            labels, num_folds=num_folds, fold=fold, repetition=repetition, seed=fold, val_size=round(val_size, 2)
        )
        assert sorted(torch.cat(split).tolist()) == list(range(len(labels)))
        tested.append(split.test.numpy())
    assert sorted(np.concatenate(tested)) == list(range(len(labels)))
    assert max(map(len, tested)) - min(map(len, tested)) <= 1
    of_classes = np.array([np.bincount(labels[each], minlength=4) for each in tested])
    assert (of_classes.max(axis=0) - of_classes.min(axis=0)).max() <= 1


@given(labels_of_examples, st.integers(0, 2**40))
def test_any_stretch_of_a_stratified_order_has_the_classes_in_proportion(labels, seed):
    order = draw_permutation(len(labels), stream=Stream.SPLIT, seed=seed)
    sorted_again = stratify(order, labels)
    assert sorted(sorted_again.tolist()) == list(range(len(labels)))
    shares = np.bincount(labels, minlength=4) / len(labels)
    for end in range(len(labels) + 1):
        counts = np.bincount(labels[sorted_again[:end].numpy()], minlength=4)
        assert np.abs(counts - end * shares).max() <= 2


def test_a_class_rarer_than_the_folds():
    with pytest.raises(ValueError, match=r"draw_fold: folds is 3, but class 1 has 2 examples; accepted: at most 2"):
        draw_fold(np.array([0, 0, 0, 0, 1, 1]), num_folds=3, fold=0, repetition=0, seed=0, val_size=0)


def test_a_parser_that_makes_a_float_of_a_number_of_examples_does_no_harm():
    whole = draw_split(1000, train_size=400, val_size=50, test_size=0.1, seed=1)
    found = draw_split(1000, train_size=400.0, val_size=50.0, test_size=0.1, seed=1)
    assert all(torch.equal(*pair) for pair in zip(whole, found, strict=True))

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datamodules.batches import Batches
from datamodules.streams import Stream, draw_permutation


@given(st.integers(0, 60), st.integers(1, 70), st.sampled_from([None, 0, 7]))
def test_batches_have_the_given_size_and_every_index_once(num_examples, batch_size, seed):
    indices = torch.arange(100, 100 + num_examples)
    batches = list(Batches(indices, batch_size, seed=seed))
    assert sorted(index for batch in batches for index in batch.tolist()) == indices.tolist()
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(Batches(indices, batch_size, seed=seed)) == len(batches)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "sizes"),
    [
        (9, 4, [4, 4]),
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (3, 1, [1, 1, 1]),
        (1, 4, [1]),
        (3, 5, [3]),
    ],
)
def test_a_last_batch_of_one_is_left_out_unless_it_is_the_only_one(num_examples, batch_size, sizes):
    batches = Batches(torch.arange(num_examples), batch_size, seed=1, drop_single=True)
    assert [len(batch) for batch in batches] == sizes
    assert len(batches) == len(sizes)


def test_which_example_is_left_out_changes_with_the_epoch():
    batches = Batches(torch.arange(9), 4, seed=1, drop_single=True)
    left_out = set()
    for epoch in range(50):
        batches.set_epoch(epoch)
        [missing] = set(range(9)) - set(torch.cat(list(batches)).tolist())
        left_out.add(missing)
    assert len(left_out) > 4


def test_without_a_seed_the_order_is_kept_in_every_epoch():
    batches = Batches(torch.tensor([3, 1, 2]), 2)
    batches.set_epoch(5)
    assert [batch.tolist() for batch in batches] == [[3, 1], [2]]


def test_an_epoch_can_be_read_again():
    batches = Batches(torch.arange(20), 3, seed=1)
    batches.set_epoch(4)
    assert torch.equal(torch.cat(list(batches)), torch.cat(list(batches)))


def test_orders_are_shuffled_evenly():
    """Each of the 6 orders of 3 examples: about 1,000 times in 6,000 epochs (standard deviation 29)."""
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(6_000):
        drawn = tuple(draw_permutation(3, stream=Stream.ORDER, seed=1, epoch=epoch).tolist())
        counts[drawn] = counts.get(drawn, 0) + 1
    assert len(counts) == 6
    assert all(850 < count < 1150 for count in counts.values())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"stream": Stream.SPLIT, "seed": 1}, {"stream": Stream.ORDER, "seed": 1}),
        ({"stream": Stream.ORDER, "seed": 1}, {"stream": Stream.ORDER, "seed": 2}),
        ({"stream": Stream.ORDER, "seed": 1}, {"stream": Stream.ORDER, "seed": 1, "epoch": 1}),
        ({"stream": Stream.ORDER, "seed": 1, "epoch": 2}, {"stream": Stream.ORDER, "seed": 2, "epoch": 1}),
        ({"stream": Stream.ORDER, "seed": 1}, {"stream": Stream.ORDER, "seed": 1 + 2**32}),
        ({"stream": Stream.ORDER, "seed": 0}, {"stream": Stream.ORDER, "seed": 2**64}),
    ],
)
def test_streams_seeds_and_epochs_do_not_meet(first, second):
    assert draw_permutation(50, **first).tolist() != draw_permutation(50, **second).tolist()


def test_the_orders_of_a_seed_never_change():
    """Studies can be resumed; a change here would train their remaining trials in other orders."""
    assert draw_permutation(8, stream=Stream.ORDER, seed=1, epoch=2).tolist() == [0, 6, 3, 5, 4, 1, 7, 2]


def test_negative_seeds_are_refused():
    with pytest.raises(ValueError, match="non-negative"):
        draw_permutation(3, stream=Stream.ORDER, seed=-1)

from typing import NamedTuple

import pytest
import torch

from experiments.mechanisms.probe import FirstExamples, num_wanted, rebatched


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def test_batches_are_put_together_and_cut_to_the_number_that_is_wanted():
    batches = [(torch.arange(3), torch.arange(3.0)), (torch.arange(3, 5), torch.arange(3.0, 5))]
    found = rebatched(batches, 4, 4)
    assert [x.tolist() for x in found[0]] == [[0, 1, 2, 3], [0.0, 1.0, 2.0, 3.0]]
    assert len(found) == 1


def test_fewer_examples_than_are_wanted_are_all_there_is():
    assert [x.tolist() for x in rebatched([torch.arange(3)], 256, 256)] == [[0, 1, 2]]


def test_forms_of_batches_stay():
    batch = {"pair": Pair(torch.zeros(2, 1), torch.ones(2)), "list": [torch.zeros(2)]}
    (found,) = rebatched([batch, batch], 3, 3)
    assert type(found["pair"]) is Pair
    assert found["pair"].x.shape == (3, 1)
    assert type(found["list"]) is list


def test_batches_that_cannot_be_put_together_stay_as_they_came():
    padded = [torch.zeros(2, 5), torch.zeros(2, 7), torch.zeros(2, 3)]
    assert [x.shape for x in rebatched(padded, 3, 3)] == [(2, 5), (2, 7)]
    with_words = [(torch.zeros(2), ["a", "b"])] * 2
    assert rebatched(with_words, 2, 4) == with_words
    with_scale = [(torch.zeros(2), torch.tensor(3.0))] * 2
    assert len(rebatched(with_scale, 4, 4)) == 2


def test_what_a_step_does_to_its_batch_is_not_done_to_what_is_kept():
    sample, batch = FirstExamples(3), torch.ones(2)
    sample.add(batch)
    batch.zero_()
    assert not sample.is_full
    sample.add(torch.full((2,), 2.0))
    assert sample.is_full
    sample.add(torch.full((2,), 3.0))
    assert sample.batches(3, 3)[0].tolist() == [1, 1, 2]


def test_batches_that_are_not_understood_are_an_error():
    with pytest.raises(ValueError, match="its batches are of type object; tensors are expected"):
        FirstExamples(3).add(object())


def test_a_thousand_examples_are_kept_for_the_gap():
    assert [num_wanted(256, with_gap=each) for each in (False, True)] == [256, 1000]
    assert num_wanted(2000, with_gap=True) == 2000

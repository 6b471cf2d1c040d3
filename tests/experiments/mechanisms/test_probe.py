from typing import NamedTuple

import pytest
import torch

from experiments.mechanisms.probe import FirstExamples, count_examples_wanted, rebatch


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def test_batches_are_concatenated_and_cut_to_size():
    batches = [(torch.arange(3), torch.arange(3.0)), (torch.arange(3, 5), torch.arange(3.0, 5))]
    found = rebatch(batches, 4, 4)
    assert [x.tolist() for x in found[0]] == [[0, 1, 2, 3], [0.0, 1.0, 2.0, 3.0]]
    assert len(found) == 1


def test_fewer_examples_than_wanted_are_all_returned():
    assert [x.tolist() for x in rebatch([torch.arange(3)], 256, 256)] == [[0, 1, 2]]


def test_the_form_of_batches_is_kept():
    batch = {"pair": Pair(torch.zeros(2, 1), torch.ones(2)), "list": [torch.zeros(2)]}
    (found,) = rebatch([batch, batch], 3, 3)
    assert type(found["pair"]) is Pair
    assert found["pair"].x.shape == (3, 1)
    assert type(found["list"]) is list


def test_batches_that_cannot_be_concatenated_are_unchanged():
    padded = [torch.zeros(2, 5), torch.zeros(2, 7), torch.zeros(2, 3)]
    assert [x.shape for x in rebatch(padded, 3, 3)] == [(2, 5), (2, 7)]
    with_words = [(torch.zeros(2), ["a", "b"])] * 2
    assert rebatch(with_words, 2, 4) == with_words
    with_scale = [(torch.zeros(2), torch.tensor(3.0))] * 2
    assert len(rebatch(with_scale, 4, 4)) == 2


def test_kept_batches_are_copies():
    sample, batch = FirstExamples(3), torch.ones(2)
    sample.add(batch)
    batch.zero_()
    assert not sample.is_full
    sample.add(torch.full((2,), 2.0))
    assert sample.is_full
    sample.add(torch.full((2,), 3.0))
    assert sample.rebatch(3, 3)[0].tolist() == [1, 1, 2]


def test_batches_without_tensors_are_an_error():
    with pytest.raises(ValueError, match="its batches are of type object; tensors are expected"):
        FirstExamples(3).add(object())


def test_a_thousand_examples_are_kept_for_the_gap():
    assert [count_examples_wanted(256, with_gap=each) for each in (False, True)] == [256, 1000]
    assert count_examples_wanted(2000, with_gap=True) == 2000

import numpy as np
import pytest
import torch

from datamodules import AddingProblem
from datamodules.adding import draw_sequences


@pytest.mark.parametrize("length", [2, 3, 10, 201])
def test_one_marker_in_each_half_and_their_sum(length):
    sequences, sums = draw_sequences(500, length, seed=0)
    assert sequences.shape == (500, length, 2)
    values, markers = sequences[..., 0], sequences[..., 1]
    assert set(np.unique(markers)) <= {0.0, 1.0}
    assert (markers[:, : length // 2].sum(axis=1) == 1).all()
    assert (markers[:, length // 2 :].sum(axis=1) == 1).all()
    np.testing.assert_allclose(sums[:, 0], (values * markers).sum(axis=1), rtol=1e-6)
    assert values.min() >= 0
    assert values.max() < 1


def test_every_step_is_marked_about_as_often_as_the_others_of_its_half():
    sequences, _ = draw_sequences(20_000, 10, seed=0)
    assert sequences[..., 1].mean(axis=0) == pytest.approx(0.2, abs=0.015)


def test_the_answer_1_has_an_error_of_a_sixth():
    _, target = AddingProblem(10, seed=0).load()
    assert (target - 1).square().mean().item() == pytest.approx(1 / 6, abs=0.003)
    assert AddingProblem(10, seed=0).notes() == [
        "Adding problem: predicting 1 for every sequence has a mean squared error of 1/6 = 0.167."
    ]


def test_equal_arguments_give_equal_sequences_and_lengths_are_independent():
    first, second = AddingProblem(10, num_sequences=50, seed=0), AddingProblem(10, num_sequences=50, seed=1)
    assert first.load()[0].data_ptr() == second.load()[0].data_ptr()
    other = AddingProblem(10, num_sequences=50, sequences_seed=1, seed=0)
    assert not torch.equal(first.load()[1], other.load()[1])


def test_default_split():
    assert [len(indices) for indices in AddingProblem(seed=0).split] == [9000, 1200, 1800]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 1}, "length is 1; accepted: an integer of at least 2"),
        ({"num_sequences": 0}, "num_sequences is 0; accepted: an integer of at least 1"),
        ({"sequences_seed": -1}, "sequences_seed is -1; accepted: an integer of at least 0"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=f"^AddingProblem: {message}$"):
        AddingProblem(**arguments)

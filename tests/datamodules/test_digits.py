import pytest
import torch
from sklearn.datasets import load_digits

from datamodules import Digits


def test_images_and_labels_are_those_of_scikit_learn():
    inputs, target = Digits(seed=1).load()
    digits = load_digits()
    assert inputs.shape == (1797, 1, 8, 8)
    torch.testing.assert_close(inputs[:, 0], torch.from_numpy((digits.images / 16 - 0.3053) / 0.3760).float())
    assert target.tolist() == digits.target.tolist()


def test_pixels_are_standardised():
    inputs, _ = Digits(seed=1).load()
    assert inputs.mean().item() == pytest.approx(0, abs=1e-3)
    assert inputs.std().item() == pytest.approx(1, abs=1e-3)


def test_default_split():
    assert [len(indices) for indices in Digits(seed=1).split] == [1258, 269, 270]


def test_the_data_are_read_once_a_process():
    first, second = Digits(seed=1).load()[0], Digits(seed=2).load()[0]
    assert first.data_ptr() == second.data_ptr()

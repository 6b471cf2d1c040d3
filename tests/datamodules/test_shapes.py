import numpy as np
import pytest
import torch

from datamodules import Shapes
from datamodules.shapes import CLASSES, draw_shapes


def test_equal_arguments_give_equal_images():
    first, second, other = draw_shapes(40, seed=0), draw_shapes(40, seed=0), draw_shapes(40, seed=1)
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_classes_are_in_equal_numbers_and_values_are_colours():
    images, classes = draw_shapes(400, seed=0)
    assert np.bincount(classes).tolist() == [400 // len(CLASSES)] * len(CLASSES)
    assert images.min() >= 0
    assert images.max() <= 1


def test_values_are_standardised():
    inputs, _ = Shapes(2000, seed=1).load()
    assert inputs.mean().item() == pytest.approx(0, abs=0.1)
    assert inputs.std().item() == pytest.approx(1, abs=0.1)


def test_neither_colours_nor_single_pixels_predict_the_class():
    """Mean colours and mean pixels of a class differ from those of all classes only by chance."""
    inputs, target = Shapes(4000, seed=1).load()
    of_class = torch.stack([inputs[target == each].mean(dim=0) for each in range(len(CLASSES))])
    standard_error = inputs.std(dim=0) / (4000 / len(CLASSES)) ** 0.5
    scores = (of_class - inputs.mean(dim=0)) / standard_error
    assert scores.abs().mean() < 1.0  # of N(0, 1): 0.8


def test_the_images_do_not_depend_on_the_seed_of_the_split():
    first, second = Shapes(80, seed=1), Shapes(80, seed=2)
    assert first.load()[0].data_ptr() == second.load()[0].data_ptr()
    assert first.split.train.tolist() != second.split.train.tolist()
    assert not torch.equal(first.load()[0], Shapes(80, images_seed=1, seed=1).load()[0])


def test_a_note_says_that_the_images_are_synthetic():
    assert Shapes(80, seed=1).notes() == ["The images are synthetic: a generator drew them."]


def test_too_few_images():
    with pytest.raises(ValueError, match="Shapes: num_images is 7; accepted: an integer of at least 8"):
        Shapes(7)

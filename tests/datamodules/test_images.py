import pytest
import torch

from datamodules import CIFAR10, MNIST, Digits, Shapes
from datamodules.images import permute_images


def examples(**arguments):
    data = Digits(**arguments)
    data.setup()
    return data.make_examples().tensors


def test_pixels_are_in_one_other_order_for_all_images_and_seeds():
    (plain, target), (first, same), (second, _) = (
        examples(seed=1),
        examples(seed=1, permute_pixels=True),
        examples(seed=2, permute_pixels=True),
    )
    assert torch.equal(first, second)
    assert torch.equal(target, same)
    assert not torch.equal(first, plain)
    places = permute_images(torch.arange(64).view(1, 1, 8, 8)).flatten()
    assert sorted(places.tolist()) == list(range(64))
    assert torch.equal(first.flatten(1), plain.flatten(1)[:, places])


def test_few_pixels_keep_their_position_or_their_neighbours():
    places = permute_images(torch.arange(1024).view(1, 1, 32, 32)).flatten()
    assert (places == torch.arange(1024)).sum() < 10
    assert (places.diff().abs() == 1).sum() < 10


def test_the_channels_of_a_pixel_move_as_one():
    images = torch.arange(4 * 5 * 6).view(1, 4, 5, 6)
    found = permute_images(images)[0].flatten(1)
    assert torch.equal(found, found[:1] + 30 * torch.arange(4).unsqueeze(1))


def test_pixels_are_permuted_once_a_process():
    first, second = examples(seed=1, permute_pixels=True)[0], examples(seed=2, permute_pixels=True)[0]
    assert first.data_ptr() == second.data_ptr()
    assert Digits(seed=1).load()[0].data_ptr() != first.data_ptr()


@pytest.mark.parametrize("make_data", [Digits, MNIST, CIFAR10, Shapes])
def test_images_are_not_permuted_by_default(make_data):
    assert make_data(seed=1).permute_pixels is False

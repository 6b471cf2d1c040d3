"""Base class of image data sets, whose pixels can be permuted."""

from functools import lru_cache
from typing import Any

from torch import Tensor

from datamodules.in_memory import TensorExamples
from datamodules.streams import Stream, draw_permutation
from datamodules.tensors import TensorDataModule


class ImageDataModule(TensorDataModule):
    """Images (channels, height, width) in memory, split and shuffled from a seed.

    Permuting pixels shows how much a network uses neighbourhood: it does not affect fully connected layers, but it does
    affect convolutions.

    Args:
        permute_pixels: whether to permute the pixels of all images, in the same way for all images, splits, seeds and
            data sets of this size; the channels of a pixel stay together.
        options: batch_size, train_size, val_size, test_size, folds, fold, seed and eval_batch_size, see
            `TensorDataModule`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.
    """

    def __init__(self, *, permute_pixels: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.permute_pixels = permute_pixels

    def make_examples(self) -> TensorExamples:
        """Return all examples, with permuted pixels if `permute_pixels`; cached."""
        inputs, target = self.loaded_tensors
        return TensorExamples(_permute_once(inputs) if self.permute_pixels else inputs, target)


def permute_images(images: Tensor) -> Tensor:
    """Permute the pixels of images in a way that depends only on height and width: (N, C, H, W) -> (N, C, H, W).

    >>> import torch
    >>> images = torch.arange(8).view(1, 2, 2, 2)
    >>> first, second = permute_images(images)[0].flatten(1)
    >>> sorted(first.tolist()), torch.equal(second, first + 4)
    ([0, 1, 2, 3], True)
    """
    order = draw_permutation(images.shape[-2] * images.shape[-1], stream=Stream.PIXELS, seed=0)
    return images.flatten(-2).index_select(-1, order).view_as(images)


@lru_cache(maxsize=2)
def _permute_once(images: Tensor) -> Tensor:
    """Permute images once per process: the cache compares tensors by identity."""
    return permute_images(images)

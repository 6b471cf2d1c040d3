"""Data sets of images, whose pixels may be put in another order."""

from functools import lru_cache
from typing import Any

from torch import Tensor

from datamodules.in_memory import TensorExamples
from datamodules.streams import Stream, permutation
from datamodules.tensors import TensorDataModule


class ImageDataModule(TensorDataModule):
    """Images (channels, height, width) in memory, split and shuffled from a seed.

    Permuted pixels tell what a network makes of neighbourhood: a network of fully connected layers does not care in
    which order it reads them, one of convolutions does.

    Args:
        permute_pixels: whether the pixels of every image are put in one other order, the same for all images, splits,
            seeds and data sets of this size; the channels of a pixel stay together.
        options: batch_size, train_size, val_size, test_size, folds, fold, seed and eval_batch_size, see
            `TensorDataModule`.

    Raises:
        ValueError: an argument is not accepted; the message says what is.
    """

    def __init__(self, *, permute_pixels: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.permute_pixels = permute_pixels

    def make_examples(self) -> TensorExamples:
        """What `load` gives, its pixels in their order or in the other one; put there once a process."""
        inputs, target = self.loaded
        return TensorExamples(_permuted(inputs) if self.permute_pixels else inputs, target)


def permuted(images: Tensor) -> Tensor:
    """The images with their pixels in another order, which depends on height and width alone: (N, C, H, W) -> same.

    >>> import torch
    >>> images = torch.arange(8).view(1, 2, 2, 2)
    >>> first, second = permuted(images)[0].flatten(1)
    >>> sorted(first.tolist()), torch.equal(second, first + 4)
    ([0, 1, 2, 3], True)
    """
    order = permutation(images.shape[-2] * images.shape[-1], stream=Stream.PIXELS, seed=0)
    return images.flatten(-2).index_select(-1, order).view_as(images)


@lru_cache(maxsize=2)
def _permuted(images: Tensor) -> Tensor:
    """Tensors are told apart by identity here, so a process that reads its data once permutes them once."""
    return permuted(images)

"""Handwritten digits of 8x8 pixels; they need no download."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from datamodules.images import ImageDataModule
from datamodules.in_memory import BatchSize
from datamodules.splits import Size

MEAN, STD = 0.3053, 0.3760  # of all pixels of all 1,797 images, on a scale from 0 to 1


class Digits(ImageDataModule):
    """Scikit-learn's 1,797 digits, ten classes, images (1, 8, 8): pixels scaled to [0, 1] and then standardised.

    They are the test part of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998,
    doi:10.24432/C50P49), shipped with scikit-learn. All pixels are standardised with the mean 0.3053 and the standard
    deviation 0.3760. Splits are random, not stratified.

    Args:
        batch_size: examples in a training batch, at least 1, or "all".
        val_size: a number of examples, or a fraction of the 1,797, or 0 for no validation.
        options: train_size, test_size, folds, fold, permute_pixels, unlabelled_size, seed and eval_batch_size, see
            `ImageDataModule`.

    Raises:
        ValueError: an argument is not accepted, or the sizes exceed 1,797; the message has the numbers.

    >>> data = Digits(batch_size=32, seed=1)
    >>> data.setup()
    >>> inputs, target = next(iter(data.train_dataloader()))
    >>> inputs.shape, target.shape
    (torch.Size([32, 1, 8, 8]), torch.Size([32]))
    """

    input_shape = (1, 8, 8)
    num_classes = 10
    pool_size = 1_797

    def __init__(self, batch_size: BatchSize = 32, *, val_size: Size = 0.15, **options: Any) -> None:
        super().__init__(batch_size=batch_size, val_size=val_size, **options)

    def load(self) -> tuple[Tensor, Tensor]:
        """Return all examples: inputs (1797, 1, 8, 8), float32, and target (1797,), int64; cached."""
        return _load()


@cache
def _load() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # 1 s to import

    images, target = load_digits(return_X_y=True)
    scaled = torch.from_numpy(images).float().div_(16).sub_(MEAN).div_(STD)
    return scaled.view(-1, *Digits.input_shape), torch.from_numpy(target).long()

"""CIFAR-10: photographs of 32x32 pixels."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.downloads import download, find_data_dir
from datamodules.images import ImageDataModule
from datamodules.in_memory import BatchSize
from datamodules.splits import Size

MEAN = (0.4914, 0.4822, 0.4465)  # by colour, of the 50,000 training images, scaled to [0, 1]
STD = (0.2470, 0.2435, 0.2616)


class CIFAR10(ImageDataModule):
    """CIFAR-10 (Krizhevsky 2009), ten classes, images (3, 32, 32): pixels scaled to [0, 1] and then standardised.

    The files are torchvision's, in <data_dir>/cifar-10-batches-py. They are checked against torchvision's md5 sums and
    downloaded (170 MB) if absent or damaged. Each colour is standardised with the mean and standard deviation of the
    training images. All trials of a process share one copy in memory, 740 MB.

    Args:
        batch_size: examples in a training batch, at least 1, or "all".
        val_size: a number of examples, or a fraction of the 50,000 training images, or 0 for no validation.
        data_dir: the folder of all data sets; None takes the variable ABLATE_DATA_DIR, or `data` if it is not set.
        options: train_size, test_size, folds, fold, permute_pixels, seed and eval_batch_size, see `ImageDataModule`.
            The pool is the 50,000 training images; the 10,000 official test images are the test split unless
            test_size or folds is given.

    Raises:
        ValueError: an argument is not accepted, or the sizes exceed 50,000; the message has the numbers.

    >>> [len(indices) for indices in CIFAR10(train_size=5000, seed=1).split]
    [5000, 5000, 10000]
    """

    input_shape = (3, 32, 32)
    num_classes = 10
    pool_size = 50_000
    num_official_test = 10_000

    def __init__(
        self,
        batch_size: BatchSize = 128,
        *,
        val_size: Size = 5_000,
        data_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, val_size=val_size, **options)
        self.data_dir = find_data_dir(data_dir)

    def prepare_data(self) -> None:
        """Download the files if they are absent or damaged.

        Raises:
            FileNotFoundError: the download fails.
        """
        _prepare(self.data_dir.resolve())
        super().prepare_data()

    def load(self) -> tuple[Tensor, Tensor]:
        """Return training images, then test images: (60000, 3, 32, 32), float32, and (60000,), int64.

        Raises:
            FileNotFoundError: the files are absent or damaged.
        """
        return _read(self.data_dir.resolve())


def _open_parts(data_dir: Path) -> Any:
    """Return torchvision's training and test part; it checks their files.

    Raises:
        RuntimeError: a file is absent or damaged.
    """
    from torchvision import datasets

    return [datasets.CIFAR10(data_dir, train=is_train) for is_train in (True, False)]


def _describe_problem(data_dir: Path) -> str:
    return f"CIFAR10: {data_dir / 'cifar-10-batches-py'} lacks files of CIFAR-10, or they are damaged"


@cache
def _prepare(data_dir: Path) -> None:
    try:
        _open_parts(data_dir)
    except (RuntimeError, OSError):
        advice = (
            "put the unpacked cifar-10-python.tar.gz there, or set ABLATE_DATA_DIR or data_dir to the folder that "
            "holds cifar-10-batches-py; datamodules.Shapes has images of this size and needs no download"
        )
        download("CIFAR10", data_dir, problem=_describe_problem(data_dir), advice=advice)


@cache
def _read(data_dir: Path) -> tuple[Tensor, Tensor]:
    try:
        parts = _open_parts(data_dir)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"{_describe_problem(data_dir)}; call prepare_data(), or set ABLATE_DATA_DIR or data_dir to the folder "
            "that holds cifar-10-batches-py"
        ) from error
    pixels = torch.from_numpy(np.concatenate([part.data for part in parts])).permute(0, 3, 1, 2)
    inputs = torch.empty(pixels.shape)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
    inputs.copy_(pixels).sub_(255 * mean).div_(255 * std)  # no second float copy
    return inputs, torch.tensor([label for part in parts for label in part.targets])

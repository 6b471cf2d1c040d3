"""MNIST: handwritten digits of 28x28 pixels."""

from functools import cache, partial
from hashlib import file_digest, md5
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.downloads import download, find_data_dir
from datamodules.images import ImageDataModule
from datamodules.in_memory import BatchSize
from datamodules.splits import Size

MEAN, STD = 0.1307, 0.3081  # of all pixels of the 60,000 training images, on a scale from 0 to 1

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""Sums of the unpacked files in <data_dir>/MNIST/raw; torchvision checks only the packed ones."""


class MNIST(ImageDataModule):
    """MNIST (LeCun et al. 1998), ten classes, images (1, 28, 28): pixels scaled to [0, 1] and then standardised.

    The files are torchvision's, in <data_dir>/MNIST/raw, and are downloaded if absent. All pixels are standardised with
    the mean 0.1307 and the standard deviation 0.3081 of the training images. All trials of a process share one copy in
    memory, 220 MB.

    Args:
        batch_size: examples in a training batch, at least 1, or "all".
        val_size: a number of examples, or a fraction of the 60,000 training images, or 0 for no validation.
        data_dir: the folder of all data sets; None takes the variable ABLATE_DATA_DIR, or `data` if it is not set.
        options: train_size, test_size, folds, fold, permute_pixels, unlabelled_size, seed and eval_batch_size, see
            `ImageDataModule`.
            The pool is the 60,000 training images; the 10,000 official test images are the test split unless test_size
            or folds is given.
            A split into 35, 15 and 50 % of the pool is train_size=0.35, val_size=0.15, test_size=0.5.

    Raises:
        ValueError: an argument is not accepted, or the sizes exceed 60,000; the message has the numbers.

    >>> data = MNIST(train_size=0.35, val_size=0.15, test_size=0.5, seed=1)
    >>> [len(indices) for indices in data.split]
    [21000, 9000, 30000]
    """

    input_shape = (1, 28, 28)
    num_classes = 10
    pool_size = 60_000
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
        """Download the absent files, and check all files once per process.

        Raises:
            FileNotFoundError: the download fails.
            OSError: the folder cannot be read.
            ValueError: a file is damaged.
        """
        if missing := _list_missing_files(self._folder):
            advice = (
                f"put {', '.join(MD5)} there, or set ABLATE_DATA_DIR or data_dir to the folder that holds MNIST/raw"
            )
            problem = f"MNIST: {self._folder} lacks {', '.join(missing)}"
            download("MNIST", self.data_dir, problem=problem, advice=advice)
        _check_files(self._folder)
        super().prepare_data()

    def load(self) -> tuple[Tensor, Tensor]:
        """Return training images, then test images: (70000, 1, 28, 28), float32, and (70000,), int64.

        Raises:
            FileNotFoundError: files are absent.
            OSError: the folder cannot be read.
            ValueError: a file is damaged.
        """
        if missing := _list_missing_files(self._folder):
            raise FileNotFoundError(
                f"MNIST: {self._folder} lacks {', '.join(missing)}; call prepare_data(), or set ABLATE_DATA_DIR or "
                "data_dir to the folder that holds MNIST/raw"
            )
        _check_files(self._folder)
        return _read(self._folder.resolve())

    @property
    def _folder(self) -> Path:
        return self.data_dir / "MNIST" / "raw"


def _list_missing_files(folder: Path) -> list[str]:
    try:  # exists() would return False for a folder without read permission
        found = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        found = set()
    except OSError as error:
        raise type(error)(
            f"MNIST: {folder} cannot be read ({error.strerror}); "
            "mend that, or set ABLATE_DATA_DIR or data_dir to the folder that holds MNIST/raw"
        ) from error
    return [name for name in MD5 if name not in found]


def _check_files(folder: Path) -> None:
    for name in MD5:
        status = (folder / name).stat()
        _check_file(folder / name, status.st_size, status.st_mtime_ns)


@cache
def _check_file(path: Path, size_bytes: int, modified_ns: int) -> None:  # noqa: ARG001  # a changed file is checked again
    with path.open("rb") as file:
        found = file_digest(file, partial(md5, usedforsecurity=False)).hexdigest()
    if found != MD5[path.name]:
        raise ValueError(
            f"MNIST: {path} is damaged: its md5 sum is {found}, it should be {MD5[path.name]}; "
            "delete it, and the next run downloads it again"
        )


@cache
def _read(folder: Path) -> tuple[Tensor, Tensor]:
    """Decode the files. An idx file has a header of 4 bytes plus 4 for each axis, then unsigned bytes."""
    inputs = torch.empty(MNIST.pool_size + MNIST.num_official_test, *MNIST.input_shape)
    target = torch.empty(len(inputs), dtype=torch.int64)
    end = 0
    for part in ("train", "t10k"):
        pixels = np.fromfile(folder / f"{part}-images-idx3-ubyte", np.uint8, offset=16)
        labels = np.fromfile(folder / f"{part}-labels-idx1-ubyte", np.uint8, offset=8)
        start, end = end, end + len(labels)
        images = inputs[start:end]
        images.copy_(torch.from_numpy(pixels).view_as(images)).sub_(255 * MEAN).div_(255 * STD)  # no second float copy
        target[start:end] = torch.from_numpy(labels)
    return inputs, target

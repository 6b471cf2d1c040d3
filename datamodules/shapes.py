"""Synthetic images of 32x32 pixels: coloured shapes on textures.

Shapes: N images, 32 rows, 32 columns, 3 colours.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablation_suite.argument_checks import check_integer
from datamodules.images import ImageDataModule
from datamodules.in_memory import BatchSize
from datamodules.splits import Size

CLASSES = ("disc", "ring", "square", "frame", "triangle", "cross", "stripes", "dots")
SIDE = 32
MEAN, STD = 0.5, 0.25  # of all values, approximately

Floats = NDArray[np.float32]


class Shapes(ImageDataModule):
    """One of eight shapes on a texture, images (3, 32, 32): the size of CIFAR-10, without a download.

    The class is the shape: disc, ring, square, frame, triangle, cross, a patch of stripes, a patch of dots. Position,
    size (a radius of 7 to 11 pixels), angle, both colours, the waves of the background and the noise are random, so no
    single pixel or colour predicts the class. The data show whether a network uses neighbourhood; results do not carry
    over to photographs.

    Args:
        num_images: the number of images, equally divided among the classes.
        images_seed: the seed of the images; `seed` is the seed of the split.
        batch_size: examples in a training batch, at least 1, or "all".
        val_size: a number of examples, or a fraction of them, or 0 for no validation.
        options: train_size, test_size, folds, fold, permute_pixels, seed and eval_batch_size, see `ImageDataModule`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    >>> data = Shapes(400, batch_size=32, seed=1)
    >>> data.setup()
    >>> inputs, target = next(iter(data.train_dataloader()))
    >>> inputs.shape, target.shape
    (torch.Size([32, 3, 32, 32]), torch.Size([32]))
    """

    input_shape = (3, SIDE, SIDE)
    num_classes = len(CLASSES)

    def __init__(
        self,
        num_images: int = 6000,
        *,
        images_seed: int = 0,
        batch_size: BatchSize = 64,
        val_size: Size = 0.15,
        **options: Any,
    ) -> None:
        check_integer(type(self).__name__, "num_images", num_images, minimum=len(CLASSES))
        check_integer(type(self).__name__, "images_seed", images_seed, minimum=0)
        self.pool_size = num_images
        self.images_seed = images_seed
        super().__init__(batch_size=batch_size, val_size=val_size, **options)

    def load(self) -> tuple[Tensor, Tensor]:
        """Return all images, standardised with one mean and standard deviation, and their classes; cached."""
        return _load(self.pool_size, self.images_seed)

    def notes(self) -> list[str]:
        """Return notes for the report."""
        return ["The images are synthetic: a generator drew them."]


def draw_shapes(num_images: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Draw images (N, 3, 32, 32), from 0 to 1, and their classes (N,); equal arguments give equal images.

    >>> images, classes = draw_shapes(16, seed=0)
    >>> images.shape, np.bincount(classes).tolist()
    ((16, 3, 32, 32), [2, 2, 2, 2, 2, 2, 2, 2])
    """
    draws = np.random.default_rng([seed, num_images])
    classes = draws.permutation(np.arange(num_images) % len(CLASSES))
    radius = draws.uniform(7, 11, num_images)
    margin = radius + 1
    centres = margin[:, None] + draws.uniform(size=(num_images, 2)) * (SIDE - 1 - 2 * margin[:, None])
    angles = draws.uniform(0, 2 * np.pi, num_images)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    images = np.empty((num_images, 3, SIDE, SIDE), dtype=np.float32)
    for number in range(num_images):
        across, down = x - centres[number, 1], y - centres[number, 0]
        cos, sin = np.cos(angles[number]), np.sin(angles[number])
        u, v = (cos * across + sin * down) / radius[number], (cos * down - sin * across) / radius[number]
        cover = _COVERS[CLASSES[classes[number]]](u.astype(np.float32), v.astype(np.float32))
        background, foreground = draws.uniform(0.1, 0.9, (2, 3))
        while np.abs(background - foreground).max() < 0.3:  # until the shape is visible  # noqa: PLR2004
            foreground = draws.uniform(0.1, 0.9, 3)
        wave = _draw_waves(draws, x, y)[None] * draws.uniform(-0.1, 0.1, (3, 1, 1))
        images[number] = background[:, None, None] + cover * (foreground - background)[:, None, None] + wave
    images += draws.normal(0, 0.05, images.shape).astype(np.float32)
    np.clip(images, 0, 1, out=images)
    return images, classes


def _draw_waves(draws: np.random.Generator, x: Floats, y: Floats) -> Floats:
    """Draw a texture, (32, 32), from -2 to 2: two waves of 5 to 20 pixels in random directions."""
    angle, length, phase = draws.uniform(0, 2 * np.pi, 2), draws.uniform(5, 20, 2), draws.uniform(0, 2 * np.pi, 2)
    total = np.zeros_like(x)
    for wave in range(2):
        along = np.cos(angle[wave]) * x + np.sin(angle[wave]) * y
        total += np.sin(2 * np.pi * along / length[wave] + phase[wave]).astype(np.float32)
    return total


# u, v: (32, 32), coordinates along the shape's axes, in units of its radius. Return 1 within the shape, else 0.


def _draw_disc(u: Floats, v: Floats) -> Floats:
    return (u**2 + v**2 < 1).astype(np.float32)


def _draw_ring(u: Floats, v: Floats) -> Floats:
    return _draw_disc(u, v) - _draw_disc(u * 1.8, v * 1.8)


def _draw_square(u: Floats, v: Floats) -> Floats:
    return (np.maximum(abs(u), abs(v)) < 0.85).astype(np.float32)  # noqa: PLR2004  # about the area of the disc


def _draw_frame(u: Floats, v: Floats) -> Floats:
    return _draw_square(u, v) - _draw_square(u * 1.8, v * 1.8)


def _draw_triangle(u: Floats, v: Floats) -> Floats:
    sides = [np.cos(angle) * u + np.sin(angle) * v for angle in (np.pi / 2, np.pi * 7 / 6, np.pi * 11 / 6)]
    is_inside: Floats = (np.maximum.reduce(sides) < 0.55).astype(np.float32)  # noqa: PLR2004
    return is_inside


def _draw_cross(u: Floats, v: Floats) -> Floats:
    is_arm = np.minimum(abs(u), abs(v)) < 0.3  # noqa: PLR2004
    return (is_arm & (np.maximum(abs(u), abs(v)) < 1)).astype(np.float32)


def _draw_stripes(u: Floats, v: Floats) -> Floats:
    return _draw_disc(u, v) * (np.sin(u * 9) > 0).astype(np.float32)


def _draw_dots(u: Floats, v: Floats) -> Floats:
    return _draw_disc(u, v) * (np.sin(u * 9) * np.sin(v * 9) > 0).astype(np.float32)


_COVERS = {
    "disc": _draw_disc,
    "ring": _draw_ring,
    "square": _draw_square,
    "frame": _draw_frame,
    "triangle": _draw_triangle,
    "cross": _draw_cross,
    "stripes": _draw_stripes,
    "dots": _draw_dots,
}


@cache
def _load(num_images: int, seed: int) -> tuple[Tensor, Tensor]:
    images, classes = draw_shapes(num_images, seed)
    return torch.from_numpy(images).sub_(MEAN).div_(STD), torch.from_numpy(classes)

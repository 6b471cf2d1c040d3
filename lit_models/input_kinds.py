"""Kinds of inputs: numbers or token ids.

Id 0 is padding and occurs only at the end of a text; the length of a text is the number of its other ids. These checks
use dtypes and shapes but no values, so that they work under `torch.func.vmap`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

InputKind = Literal["anything", "numbers", "tokens"]

PADDING = 0
"""The id that pads a text to the fixed length."""


def check_inputs(owner: str, kind: InputKind, inputs: Tensor) -> None:
    """Raise unless the inputs of a network are of its kind. inputs: (B, ...).

    Raises:
        ValueError: token ids for a network that reads numbers, or numbers for one that reads token ids.

    >>> check_inputs("MLP", "numbers", torch.zeros(32, 64))
    >>> check_inputs("Recurrent", "tokens", torch.zeros(32, 20))
    Traceback (most recent call last):
    ValueError: Recurrent: the inputs are torch.float32, and this network reads token ids, which are torch.int64; give \
the text data module `representation: tokens`
    """
    if kind == "numbers" and not inputs.is_floating_point():
        raise ValueError(
            f"{owner}: the inputs are {inputs.dtype}, and this network reads floating-point numbers; if they are token "
            "ids, give the text data module `representation: bag_of_words`, or use a network for tokens, such as "
            "lit_models.MeanEmbedding"
        )
    if kind == "tokens" and inputs.dtype not in {torch.int64, torch.int32}:
        raise ValueError(
            f"{owner}: the inputs are {inputs.dtype}, and this network reads token ids, which are torch.int64; give "
            "the text data module `representation: tokens`"
        )


def check_text_shape(owner: str, input_shape: Sequence[int]) -> None:
    """Raise unless `input_shape` is the shape of a text, (length,).

    Raises:
        ValueError: it is not.

    >>> check_text_shape("Recurrent", (1, 28, 28))
    Traceback (most recent call last):
    ValueError: Recurrent: input_shape is (1, 28, 28); accepted: (length,), the number of tokens of a text
    """
    if len(input_shape) != 1:
        raise ValueError(
            f"{owner}: input_shape is {tuple(input_shape)}; accepted: (length,), the number of tokens of a text"
        )

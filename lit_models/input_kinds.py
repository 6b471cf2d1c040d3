"""What a network reads: numbers, or the ids of tokens. Both look alike until a layer fails on them.

The id 0 is padding and stands at the end of a text only; a text is as long as it has other ids. Only types and shapes
are looked at here, never values, so that the checks hold under `torch.func.vmap` too.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

InputKind = Literal["anything", "numbers", "tokens"]

PADDING = 0
"""The id that fills a text up to the fixed length."""


def check_inputs(owner: str, reads: InputKind, inputs: Tensor) -> None:
    """Raise unless the inputs of a network are of the kind that it reads. inputs: (B, ...).

    Raises:
        ValueError: token ids for a network that reads numbers, or numbers for one that reads token ids.

    >>> check_inputs("MLP", "numbers", torch.zeros(32, 64))
    >>> check_inputs("Recurrent", "tokens", torch.zeros(32, 20))
    Traceback (most recent call last):
    ValueError: Recurrent: the inputs are torch.float32, and this network reads token ids, which are torch.int64; give \
the text data module `representation: tokens`
    """
    if reads == "numbers" and not inputs.is_floating_point():
        raise ValueError(
            f"{owner}: the inputs are {inputs.dtype}, and this network reads floating-point numbers; if they are token "
            "ids, give the text data module `representation: bag_of_words`, or take a network for tokens, such as "
            "lit_models.MeanEmbedding"
        )
    if reads == "tokens" and inputs.dtype not in {torch.int64, torch.int32}:
        raise ValueError(
            f"{owner}: the inputs are {inputs.dtype}, and this network reads token ids, which are torch.int64; give "
            "the text data module `representation: tokens`"
        )


def check_text_shape(owner: str, input_shape: Sequence[int]) -> None:
    """Raise unless `input_shape` is that of a text, (length,).

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

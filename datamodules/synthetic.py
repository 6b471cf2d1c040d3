"""Synthetic reviews as a data module: text at hand without a file."""

from functools import cache
from typing import Any

import numpy as np

from ablation_suite.argument_checks import check_integer
from datamodules.labelled_texts import LabelledTexts
from datamodules.synthetic_reviews import synthetic_reviews
from datamodules.texts import TextDataModule


class SyntheticReviews(TextDataModule):
    """Reviews that a generator made, whose sentiment lies in negation and word order; see `synthetic_reviews`.

    They tell networks that read words in order from those that count them, and nothing about real reviews.

    Args:
        num_reviews: how many, half of them positive.
        reviews_seed: of the reviews themselves; the data module's own seed splits them.
        options: see `TextDataModule`.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

    >>> data = SyntheticReviews(200, representation="tokens", length=24, seed=1)
    >>> data.setup()
    >>> inputs, target = next(iter(data.train_dataloader()))
    >>> inputs.shape, target.shape
    (torch.Size([32, 24]), torch.Size([32]))
    """

    def __init__(self, num_reviews: int = 2000, *, reviews_seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        check_integer(type(self).__name__, "num_reviews", num_reviews, minimum=2)
        check_integer(type(self).__name__, "reviews_seed", reviews_seed, minimum=0)
        self._num_reviews, self._reviews_seed = num_reviews, reviews_seed

    def read_texts(self) -> LabelledTexts:
        """The reviews; made once a process."""
        return _made(self._num_reviews, self._reviews_seed)


@cache
def _made(num_reviews: int, seed: int) -> LabelledTexts:
    texts, labels = synthetic_reviews(num_reviews, seed)
    return LabelledTexts(
        texts=tuple(texts),
        labels=np.array(labels, dtype=np.int64),
        class_names=("negative", "positive"),
        sizes=(num_reviews, 0, 0),
        notes=("The reviews are synthetic: a generator made them, and nobody's opinion is in them.",),
    )

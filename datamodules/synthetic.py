"""Synthetic reviews as a data module, without files."""

from functools import cache
from typing import Any

import numpy as np

from ablation_suite.argument_checks import check_integer
from datamodules.labelled_texts import LabelledTexts
from datamodules.synthetic_reviews import draw_reviews
from datamodules.texts import TextDataModule


class SyntheticReviews(TextDataModule):
    """Synthetic reviews whose sentiment depends on negation and word order; see `draw_reviews`.

    They show whether a network uses the order of words; results do not carry over to real reviews.

    Args:
        num_reviews: the number of reviews, half of them positive.
        reviews_seed: the seed of the reviews; `seed` is the seed of the split.
        options: see `TextDataModule`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

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
        """Return the reviews; cached."""
        return _load(self._num_reviews, self._reviews_seed)


@cache
def _load(num_reviews: int, seed: int) -> LabelledTexts:
    texts, labels = draw_reviews(num_reviews, seed)
    return LabelledTexts(
        texts=tuple(texts),
        labels=np.array(labels, dtype=np.int64),
        class_names=("negative", "positive"),
        sizes=(num_reviews, 0, 0),
        notes=("The reviews are synthetic: a generator made them, and nobody's opinion is in them.",),
    )

"""Text data sets of the Hugging Face Hub, read with the optional library `datasets`."""

from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from datamodules.labelled_texts import LabelledTexts
from datamodules.text_files import EXTRA

NamedSet = Literal["rotten_tomatoes", "imdb", "yelp_polarity", "sst2"]


class HubSet(NamedTuple):
    """Path of a data set on the Hub, its column of texts, and the names of its splits, None if absent."""

    path: str
    text: str
    splits: tuple[str, str | None, str | None]


NAMED_SETS: dict[str, HubSet] = {
    "rotten_tomatoes": HubSet("cornell-movie-review-data/rotten_tomatoes", "text", ("train", "validation", "test")),
    "imdb": HubSet("stanfordnlp/imdb", "text", ("train", None, "test")),
    "yelp_polarity": HubSet("fancyzhx/yelp_polarity", "text", ("train", None, "test")),
    "sst2": HubSet("stanfordnlp/sst2", "sentence", ("train", None, "validation")),  # its test has no labels
}
"""All have the column `label`: negative (0) and positive (1)."""


@cache
def read_named_set(name: str) -> LabelledTexts:
    """Return a named data set, from the cache of `datasets` or the network; cached.

    Raises:
        ModuleNotFoundError: `datasets` is not installed; the message names the extra.
        ConnectionError: the data set is not in the cache and cannot be downloaded.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name}: named sets need Hugging Face's `datasets`, which is not installed: {EXTRA}"
        ) from error
    path, text, splits = NAMED_SETS[name]
    try:
        found = {split: datasets.load_dataset(path, split=split) for split in splits if split is not None}
    except (OSError, ValueError, RuntimeError) as error:
        raise ConnectionError(
            f"{name}: no network: {path} is not in the cache of Hugging Face's `datasets` and cannot be downloaded "
            f"({_first_line(error)}); run this once with a network, or name files of your own in `files`"
        ) from error
    parts = [found[split] if split is not None else None for split in splits]
    return _build_labelled_texts(name, parts, text)


def _build_labelled_texts(name: str, parts: list[Any], text: str) -> LabelledTexts:
    texts: list[str] = []
    labels: list[int] = []
    for part in parts:
        if part is not None:
            texts += part[text]
            labels += part["label"]
    notes = (
        ("Its test split is the validation split of the Hub, whose own test has no labels.",) if name == "sst2" else ()
    )
    sizes = [0 if part is None else len(part) for part in parts]
    return LabelledTexts(
        texts=tuple(texts),
        labels=np.array(labels, dtype=np.int64),
        class_names=("negative", "positive"),
        sizes=(sizes[0], sizes[1], sizes[2]),
        notes=notes,
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

"""Text data sets of the Hugging Face Hub, read with the optional library `datasets`."""

from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from datamodules.labelled_texts import LabelledTexts
from datamodules.text_files import EXTRA

NamedSet = Literal["rotten_tomatoes", "imdb", "yelp_polarity", "sst2"]


class HubSet(NamedTuple):
    """Data set of the Hub.

    split_names: (train, validation, test); None if the Hub has no such split.
    """

    repo_id: str
    text_column: str
    split_names: tuple[str, str | None, str | None]


NAMED_SETS: dict[str, HubSet] = {
    "rotten_tomatoes": HubSet("cornell-movie-review-data/rotten_tomatoes", "text", ("train", "validation", "test")),
    "imdb": HubSet("stanfordnlp/imdb", "text", ("train", None, "test")),
    "yelp_polarity": HubSet("fancyzhx/yelp_polarity", "text", ("train", None, "test")),
    "sst2": HubSet("stanfordnlp/sst2", "sentence", ("train", None, "validation")),  # the Hub's test split has no labels
}
"""All have the column `label`: negative (0) and positive (1)."""


@cache
def read_named_set(name: str) -> LabelledTexts:
    """Load a data set from the Hugging Face cache, or download it. The result is kept in memory for the process.

    Raises:
        ModuleNotFoundError: `datasets` is not installed; the message names the extra.
        ConnectionError: the data set is not in the cache and could not be downloaded.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name}: named sets need Hugging Face's `datasets`, which is not installed; install it with {EXTRA}"
        ) from error
    repo_id, text_column, split_names = NAMED_SETS[name]
    try:
        found = {split: datasets.load_dataset(repo_id, split=split) for split in split_names if split is not None}
    except (OSError, ValueError, RuntimeError) as error:
        raise ConnectionError(
            f"{name}: {repo_id} is not in the Hugging Face cache and could not be downloaded "
            f"({_describe_error(error)}). Check the network connection and run again, or set `files` to local files"
        ) from error
    parts = [found[split] if split is not None else None for split in split_names]
    return _build_labelled_texts(name, parts, text_column)


def _build_labelled_texts(name: str, parts: list[Any], text_column: str) -> LabelledTexts:
    texts: list[str] = []
    labels: list[int] = []
    for part in parts:
        if part is not None:
            texts += part[text_column]
            labels += part["label"]
    notes = (
        ("The Hub's validation split is used for testing, because the Hub's test split has no labels.",)
        if name == "sst2"
        else ()
    )
    sizes = [0 if part is None else len(part) for part in parts]
    return LabelledTexts(
        texts=tuple(texts),
        labels=np.array(labels, dtype=np.int64),
        class_names=("negative", "positive"),
        sizes=(sizes[0], sizes[1], sizes[2]),
        notes=notes,
    )


def _describe_error(error: BaseException) -> str:
    """Return the class and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

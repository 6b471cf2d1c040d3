"""Texts as bags of words or sequences of token ids, with a vocabulary from only the training texts.

Shapes: N texts, V terms, L tokens.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, Literal, NamedTuple
from unicodedata import category

import numpy as np
import torch
from torch import Tensor

Representation = Literal["bag_of_words", "tokens"]
Weighting = Literal["binary", "count", "tfidf"]
Terms = Literal["words", "characters"]

_JOINERS = "\u200c\u200d"
"""Joiners within words of Persian and Indian scripts."""


@cache
def make_token_pattern() -> str:
    r"""Return a regular expression for a token: a word, with apostrophes inside, or a single punctuation mark.

    A word consists of letters and digits of any script and their combining marks, which Python's `\w` does not match:
    vowels of Hindi and Thai, combining accents.

    >>> import re
    >>> re.findall(make_token_pattern(), "It's हिन्दी, 안 좋아요!")
    ["It's", 'हिन्दी', ',', '안', '좋아요', '!']
    """
    marks = [number for number in range(0x300, 0x20000) if category(chr(number)).startswith("M")]
    runs = [[number for _, number in run] for _, run in groupby(enumerate(marks), key=lambda pair: pair[1] - pair[0])]
    of_marks = "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs) + _JOINERS
    word = rf"\w[\w{of_marks}]*"
    return rf"{word}(?:['’]{word})*|[^\w\s]"


PADDING, UNKNOWN = 0, 1
"""Ids of padding after the end of a text, and of words outside the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepresentationOptions:
    """Options of a representation; see `TextDataModule`."""

    representation: Representation
    vocabulary_size: int | None
    min_df: int
    lowercase: bool
    weighting: Weighting
    terms: Terms
    ngrams: tuple[int, int]
    length: int


class RepresentedTexts(NamedTuple):
    """All texts as numbers.

    inputs: a scipy CSR matrix (N, V), float32, or ids (N, L), int64.
    vocabulary: the terms, by column or id.
    num_truncated: the number of texts with more than L tokens.
    """

    inputs: Any
    vocabulary: tuple[str, ...]
    num_truncated: int = 0


def represent_texts(texts: Sequence[str], train: Tensor, options: RepresentationOptions) -> RepresentedTexts:
    """Represent all texts with the vocabulary of the training texts.

    Args:
        texts: (N,), of all splits.
        train: (num_train,), int64, indices of the training texts.
        options: the representation.

    Raises:
        ValueError: the vocabulary is empty.

    >>> options = RepresentationOptions(representation="tokens", vocabulary_size=None, min_df=1, lowercase=True,
    ...                                 weighting="binary", terms="words", ngrams=(1, 1), length=4)
    >>> found = represent_texts(["Good, good food", "bad food!"], torch.tensor([0]), options)
    >>> found.vocabulary
    ('<padding>', '<unknown>', 'good', ',', 'food')
    >>> found.inputs.tolist()
    [[2, 3, 2, 4], [1, 4, 1, 0]]
    """
    return _make_ids(texts, train, options) if options.representation == "tokens" else _make_bags(texts, train, options)


def _make_bags(texts: Sequence[str], train: Tensor, options: RepresentationOptions) -> RepresentedTexts:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer  # 1 s to import

    kind = TfidfVectorizer if options.weighting == "tfidf" else CountVectorizer
    vectorizer = kind(
        **_make_analyzer_options(options),
        ngram_range=options.ngrams,
        min_df=options.min_df,
        max_features=options.vocabulary_size,
        binary=options.weighting == "binary",
        dtype=np.float32,
    )
    try:
        vectorizer.fit([texts[index] for index in train.tolist()])
    except ValueError as error:  # its message names arguments of scikit-learn
        raise _make_vocabulary_error(train, options) from error
    inputs = vectorizer.transform(texts)
    vocabulary = tuple(vectorizer.get_feature_names_out())
    if options.vocabulary_size is not None:
        inputs.resize(
            len(texts), options.vocabulary_size
        )  # adds columns of zeros, so that all seeds have networks of one shape
    return RepresentedTexts(inputs, vocabulary)


def _make_ids(texts: Sequence[str], train: Tensor, options: RepresentationOptions) -> RepresentedTexts:
    from sklearn.feature_extraction.text import CountVectorizer

    analyze = CountVectorizer(**_make_analyzer_options(options)).build_analyzer()
    tokens = [analyze(text) for text in texts]
    counts: Counter[str] = Counter()
    num_texts: Counter[str] = Counter()
    for index in train.tolist():
        counts.update(tokens[index])
        num_texts.update(set(tokens[index]))
    kept = sorted((word for word in counts if num_texts[word] >= options.min_df), key=lambda word: -counts[word])
    if options.vocabulary_size is not None:
        kept = kept[: options.vocabulary_size - 2]
    if not kept:
        raise _make_vocabulary_error(train, options)
    ids = {word: number for number, word in enumerate(kept, start=2)}
    inputs = np.full((len(texts), options.length), PADDING, dtype=np.int64)
    for row, of_text in zip(inputs, tokens, strict=True):
        kept_tokens = of_text[: options.length]
        row[: len(kept_tokens)] = [ids.get(word, UNKNOWN) for word in kept_tokens]
    num_truncated = sum(len(of_text) > options.length for of_text in tokens)
    return RepresentedTexts(torch.from_numpy(inputs), ("<padding>", "<unknown>", *kept), num_truncated)


def _make_analyzer_options(options: RepresentationOptions) -> dict[str, Any]:
    if options.terms == "characters":
        return {"analyzer": "char_wb", "lowercase": options.lowercase}
    return {"analyzer": "word", "token_pattern": make_token_pattern(), "lowercase": options.lowercase}


def _make_vocabulary_error(train: Tensor, options: RepresentationOptions) -> ValueError:
    return ValueError(f"no term is in at least min_df = {options.min_df} of the {len(train)} training texts")

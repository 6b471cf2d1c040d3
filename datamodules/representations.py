"""Texts as numbers: bags of words or sequences of tokens, with a vocabulary that is learnt on the training texts alone.

N texts, V terms, L tokens.
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
"""What stands inside words of Persian and of Indian scripts."""


@cache
def words() -> str:
    r"""A regular expression for a token: a word, with what an apostrophe ties to it, or a single other mark.

    A word is a run of letters and digits of any script, with the marks on them, which Python's `\w` leaves out: vowels
    of Hindi and Thai, accents that are characters of their own.

    >>> import re
    >>> re.findall(words(), "It's हिन्दी, 안 좋아요!")
    ["It's", 'हिन्दी', ',', '안', '좋아요', '!']
    """
    marks = [number for number in range(0x300, 0x20000) if category(chr(number)).startswith("M")]
    runs = [[number for _, number in run] for _, run in groupby(enumerate(marks), key=lambda pair: pair[1] - pair[0])]
    of_marks = "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs) + _JOINERS
    word = rf"\w[\w{of_marks}]*"
    return rf"{word}(?:['’]{word})*|[^\w\s]"


PADDING, UNKNOWN = 0, 1
"""The ids that are no word: after the end of a text, and for words that are not in the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Representing:
    """How texts become numbers; see `TextDataModule` for the arguments."""

    representation: Representation
    vocabulary_size: int | None
    min_df: int
    lowercase: bool
    weighting: Weighting
    terms: Terms
    ngrams: tuple[int, int]
    length: int


class Represented(NamedTuple):
    """All texts as numbers.

    inputs: a scipy CSR matrix (N, V) of float32, or ids (N, L), int64. vocabulary: the terms, by column or by id.
    num_cut: how many texts had more than L tokens.
    """

    inputs: Any
    vocabulary: tuple[str, ...]
    num_cut: int = 0


def represented(texts: Sequence[str], train: Tensor, how: Representing) -> Represented:
    """All texts, in terms of what the training texts have.

    Args:
        texts: (N,), those of all splits.
        train: (num_train,), which of them are training texts, int64.
        how: the representation.

    Raises:
        ValueError: the training texts leave no vocabulary.

    >>> how = Representing(representation="tokens", vocabulary_size=None, min_df=1, lowercase=True, weighting="binary",
    ...                    terms="words", ngrams=(1, 1), length=4)
    >>> found = represented(["Good, good food", "bad food!"], torch.tensor([0]), how)
    >>> found.vocabulary
    ('<padding>', '<unknown>', 'good', ',', 'food')
    >>> found.inputs.tolist()
    [[2, 3, 2, 4], [1, 4, 1, 0]]
    """
    return _tokens(texts, train, how) if how.representation == "tokens" else _bag_of_words(texts, train, how)


def _bag_of_words(texts: Sequence[str], train: Tensor, how: Representing) -> Represented:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer  # 1 s to import

    kind = TfidfVectorizer if how.weighting == "tfidf" else CountVectorizer
    vectorizer = kind(
        **_analysis(how),
        ngram_range=how.ngrams,
        min_df=how.min_df,
        max_features=how.vocabulary_size,
        binary=how.weighting == "binary",
        dtype=np.float32,
    )
    try:
        vectorizer.fit([texts[place] for place in train.tolist()])
    except ValueError as error:  # which speaks of arguments that nobody gave
        raise _no_vocabulary(train, how) from error
    inputs = vectorizer.transform(texts)
    vocabulary = tuple(vectorizer.get_feature_names_out())
    if how.vocabulary_size is not None:
        inputs.resize(len(texts), how.vocabulary_size)  # columns of zeros: every seed then has networks of one shape
    return Represented(inputs, vocabulary)


def _tokens(texts: Sequence[str], train: Tensor, how: Representing) -> Represented:
    from sklearn.feature_extraction.text import CountVectorizer

    analyze = CountVectorizer(**_analysis(how)).build_analyzer()
    tokens = [analyze(text) for text in texts]
    counts: Counter[str] = Counter()
    num_texts: Counter[str] = Counter()
    for place in train.tolist():
        counts.update(tokens[place])
        num_texts.update(set(tokens[place]))
    kept = sorted((word for word in counts if num_texts[word] >= how.min_df), key=lambda word: -counts[word])
    if how.vocabulary_size is not None:
        kept = kept[: how.vocabulary_size - 2]
    if not kept:
        raise _no_vocabulary(train, how)
    ids = {word: number for number, word in enumerate(kept, start=2)}
    inputs = np.full((len(texts), how.length), PADDING, dtype=np.int64)
    for row, of_text in zip(inputs, tokens, strict=True):
        cut = of_text[: how.length]
        row[: len(cut)] = [ids.get(word, UNKNOWN) for word in cut]
    num_cut = sum(len(of_text) > how.length for of_text in tokens)
    return Represented(torch.from_numpy(inputs), ("<padding>", "<unknown>", *kept), num_cut)


def _analysis(how: Representing) -> dict[str, Any]:
    if how.terms == "characters":
        return {"analyzer": "char_wb", "lowercase": how.lowercase}
    return {"analyzer": "word", "token_pattern": words(), "lowercase": how.lowercase}


def _no_vocabulary(train: Tensor, how: Representing) -> ValueError:
    return ValueError(f"no term is in at least min_df = {how.min_df} of the {len(train)} training texts")

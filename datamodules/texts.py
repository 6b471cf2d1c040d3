"""Base class of data modules for labelled texts: it splits, encodes and batches them."""

from functools import cached_property, lru_cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ablation_suite.argument_checks import check_choice, check_integer
from datamodules.in_memory import Batch, BatchSize, InMemoryDataModule, TensorExamples
from datamodules.labelled_texts import LabelledTexts
from datamodules.representations import (
    Representation,
    RepresentationOptions,
    RepresentedTexts,
    Terms,
    Weighting,
    represent_texts,
)
from datamodules.splits import Size, Split, check_folds, check_size, choose_fold, draw_fold, draw_split

Overlap = Literal["keep", "drop"]

_TEST_SIZE = 0.2
_VAL_SIZE = 0.1


class TextDataModule(InMemoryDataModule):
    """Base class of data modules for labelled texts: it splits, encodes and batches them.

    A subclass overrides `read_texts`. Vocabulary and idf are computed on the training split only.

    Two representations, of B texts, V terms and L tokens per text:

    - bag_of_words, for `Perceptron` and `MLP`: (B, V), float32, one column per term. It is stored sparse, and densified
      per batch.
    - tokens, for sequence models: (B, L), int64, the ids of a text's words. 0 is padding after the end, 1 a word
      outside the vocabulary, 2 the most frequent word.

    Splits are stratified by class. The pool is the texts without a given split: those that `read_texts` puts neither in
    validation nor in test. With `folds`, the test split is one fold of a cross-validation: seed s tests on fold
    s % folds of partition s // folds, so all trials of a seed use the same fold.

    Args:
        representation: bag_of_words or tokens.
        vocabulary_size: the number of most frequent terms to keep; for tokens, it includes the ids 0 and 1. If the
            training texts have fewer terms, the rest is unused, so that networks have the same shape for all seeds and
            can share a training loop. None keeps all terms.
        min_df: the minimum number of training texts that contain a term.
        lowercase: whether to convert texts to lower case.
        weighting: for bags: binary, 1 if a text contains the term; count, how often; tfidf, count times inverse
            document frequency, each text scaled to norm 1 (scikit-learn's TfidfVectorizer).
        terms: for bags: words (with punctuation marks), or characters, counted within words.
        ngrams: for bags: the shortest and longest sequence of neighbouring terms that form a column, such as [1, 2].
        length: for tokens: L, the number of tokens of a text to keep, from its beginning.
        batch_size: texts in a training batch, at most the number of training texts; "all" for all of them.
        train_size: a number of texts, or a fraction of the pool. None: all texts outside validation and test.
        val_size: a number of texts, or a fraction of the pool (with folds, of the other folds); 0 for no validation.
            None: the given validation split, else 10 %.
        test_size: a number of texts, or a fraction of the pool; 0 for no test. None: the given test split, else the
            fold, else 20 %.
        folds: the number of folds of a cross-validation; None for none.
        fold: the test fold of partition 0 for all seeds, from 0; None for the fold of the seed.
        overlap: whether to keep or drop training texts that also occur in validation or test (case and spaces ignored).
        seed: seed of the split and of the shuffling, at least 0; None for the seed given to `seed_everything`.
        eval_batch_size: texts in a validation or test batch.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    >>> import numpy as np
    >>> class Opinions(TextDataModule):
    ...     def read_texts(self):
    ...         texts = ["good food", "bad food", "good place", "bad place"] * 5
    ...         return LabelledTexts(texts=tuple(texts), labels=np.array([1, 0, 1, 0] * 5), class_names=("bad", "good"),
    ...                              sizes=(20, 0, 0))
    >>> data = Opinions(representation="tokens", length=3, batch_size=4, seed=1)
    >>> data.setup()
    >>> inputs, target = next(iter(data.train_dataloader()))
    >>> inputs.shape, data.input_shape, data.vocabulary_size, data.num_classes
    (torch.Size([4, 3]), (3,), 6, 2)
    """

    def __init__(
        self,
        *,
        representation: Representation = "bag_of_words",
        vocabulary_size: int | None = None,
        min_df: int = 1,
        lowercase: bool = True,
        weighting: Weighting = "binary",
        terms: Terms = "words",
        ngrams: tuple[int, int] = (1, 1),
        length: int = 64,
        batch_size: BatchSize = 32,
        train_size: Size | None = None,
        val_size: Size | None = None,
        test_size: Size | None = None,
        folds: int | None = None,
        fold: int | None = None,
        overlap: Overlap = "keep",
        seed: int | None = None,
        eval_batch_size: int = 1000,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, eval_batch_size=eval_batch_size)
        owner = type(self).__name__
        check_choice(owner, "representation", representation, get_args(Representation))
        if vocabulary_size is not None:
            check_integer(owner, "vocabulary_size", vocabulary_size, minimum=3 if representation == "tokens" else 1)
        check_integer(owner, "min_df", min_df, minimum=1)
        check_choice(owner, "weighting", weighting, get_args(Weighting))
        check_choice(owner, "terms", terms, get_args(Terms))
        check_integer(owner, "length", length, minimum=1)
        check_choice(owner, "overlap", overlap, get_args(Overlap))
        for name, size in (("train_size", train_size), ("val_size", val_size), ("test_size", test_size)):
            if size is not None:
                check_size(owner, name, size)
        if len(ngrams) != 2 or not 1 <= ngrams[0] <= ngrams[1]:  # noqa: PLR2004
            raise ValueError(
                f"{owner}: ngrams is {list(ngrams)!r}; accepted: two integers [shortest, longest], "
                "1 <= shortest <= longest"
            )
        shortest, longest = ngrams
        if representation == "tokens" and (terms != "words" or tuple(ngrams) != (1, 1) or weighting != "binary"):
            raise ValueError(f"{owner}: terms, ngrams and weighting apply only to bag_of_words; remove them")
        check_folds(owner, folds=folds, fold=fold, train_size=train_size, test_size=test_size)
        self._options = RepresentationOptions(
            representation=representation,
            vocabulary_size=vocabulary_size,
            min_df=min_df,
            lowercase=lowercase,
            weighting=weighting,
            terms=terms,
            ngrams=(shortest, longest),
            length=length,
        )
        self._train_size, self._val_size, self._test_size = train_size, val_size, test_size
        self._folds, self._fold = folds, fold
        self._overlap = overlap
        self._num_dropped = 0

    def read_texts(self) -> LabelledTexts:
        """Return the texts of all splits, with their classes.

        A subclass should cache them for the process, as `Sentiment` does, so that the trials of a worker share texts
        and representations.
        """
        raise NotImplementedError(f"{type(self).__name__}: write read_texts(self), which returns LabelledTexts")

    def prepare_data(self) -> None:
        """Read and check everything: files, split, vocabulary.

        Raises:
            ValueError: the texts cannot be split or represented with these arguments; the message says why.
        """
        _ = self._representation

    @property
    def texts(self) -> LabelledTexts:
        """Return what `read_texts` returned, cached."""
        return self._cached_texts

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return (V,) or (L,). Reads the texts."""
        return tuple(self._representation.inputs.shape[1:])

    @property
    def num_classes(self) -> int:
        """Return the number of classes. Reads the texts."""
        return len(self.texts.class_names)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Return the terms by column, or the words by id."""
        return self._representation.vocabulary

    @property
    def vocabulary_size(self) -> int | None:
        """Return the number of ids; None for bags, whose `input_shape` has the number of terms."""
        if self._options.representation == "bag_of_words":
            return None
        return self._options.vocabulary_size or len(self.vocabulary)

    def make_split(self) -> Split:
        """Draw a stratified split; splits supplied by `read_texts` are kept."""
        owner, texts = type(self).__name__, self.texts
        num_train, num_val, num_test = texts.sizes
        pool = texts.labels[:num_train]
        given_val, given_test = (torch.arange(sum(texts.sizes[:part]), sum(texts.sizes[: part + 1])) for part in (1, 2))
        val_size, test_size = self._val_size, self._test_size
        if val_size is None:
            val_size = 0 if num_val else _VAL_SIZE
        elif num_val and val_size != 0:
            raise ValueError(
                f"{owner}: val_size is {val_size}, but the data set already has a validation split; remove val_size, "
                "or set it to 0 to ignore that split"
            )
        else:
            given_val = given_val[:0]
        if num_test and (self._folds is not None or test_size):
            given, remedy = f"folds is {self._folds}", "remove folds"
            if self._folds is None:
                given = f"test_size is {test_size}"
                remedy = "remove test_size, or set it to 0 to ignore that split"
            raise ValueError(f"{owner}: {given}, but the data set already has a test split; {remedy}")
        if self._folds is not None:
            fold, repetition = choose_fold(self.seed, self._folds, self._fold)
            split = draw_fold(
                pool,
                num_folds=self._folds,
                fold=fold,
                repetition=repetition,
                seed=self.seed,
                val_size=val_size,
                owner=owner,
                class_names=texts.class_names,
            )
        else:
            default = 0 if num_test else _TEST_SIZE
            split = draw_split(
                num_train,
                train_size=self._train_size,
                val_size=val_size,
                test_size=default if test_size is None else test_size,
                seed=self.seed,
                owner=owner,
                labels=pool,
            )
        if num_test and test_size is None:
            split = split._replace(test=given_test)
        if len(given_val):
            split = split._replace(val=given_val)
        if self._overlap == "drop":
            is_evaluated = self._find_evaluated(split)
            self._num_dropped = int(is_evaluated.sum())
            split = split._replace(train=split.train[~is_evaluated])
        if self.batch_size != "all" and len(split.train) < self.batch_size:
            raise ValueError(
                f"{owner}: batch_size is {self.batch_size}, but only {len(split.train)} of {len(texts.texts)} texts "
                "are in the training split; lower batch_size"
            )
        return split

    def make_examples(self) -> Dataset[Any]:
        """Return all examples; bags are stored sparse and densified per batch."""
        target = torch.from_numpy(self.texts.labels)
        inputs = self._representation.inputs
        return TensorExamples(inputs, target) if isinstance(inputs, Tensor) else SparseExamples(inputs, target)

    def fingerprints(self) -> dict[str, str]:
        """Return a mapping from source (such as a file) to the hash of its content, to detect changes."""
        return dict(self.texts.fingerprints)

    def notes(self) -> list[str]:
        """Return notes for the report: dropped and truncated texts, and texts in two splits."""
        notes = list(self.texts.notes)
        if self._representation.num_truncated:
            have, are = ("has", "is") if self._representation.num_truncated == 1 else ("have", "are")
            notes.append(
                f"{self._representation.num_truncated:,} of {len(self.texts.texts):,} texts {have} more than "
                f"{self._options.length} tokens and {are} truncated."
            )
        if self._num_dropped:
            notes.append(
                f"{self._num_dropped:,} of {self._num_dropped + len(self.split.train):,} training texts also occur in "
                f"validation or test (with seed {self.seed}) and are dropped."
            )
        for name, part in (("validation", self.split.val), ("test", self.split.test)):
            if num_both := int(_find_overlap(self.texts, self.split.train, part).sum()):
                occur = "occurs" if num_both == 1 else "occur"
                notes.append(
                    f"{num_both:,} of {len(part):,} {name} texts also {occur} in the training split (with seed "
                    f"{self.seed}); overlap: drop removes such training texts."
                )
        return notes

    @cached_property
    def _cached_texts(self) -> LabelledTexts:
        return self.read_texts()

    @cached_property
    def _representation(self) -> RepresentedTexts:
        texts, train = self.texts, tuple(self.split.train.tolist())
        try:
            return _represent_cached(texts, train, self._options)
        except ValueError as error:
            raise ValueError(f"{type(self).__name__}: {error}") from None

    def _find_evaluated(self, split: Split) -> Tensor:
        """Return the mask of training texts that also occur in validation or test, (num_train,)."""
        return _find_overlap(self.texts, torch.cat([split.val, split.test]), split.train)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {key: value for key, value in state.items() if key not in {"_cached_texts", "_representation"}}


class SparseExamples(Dataset[Batch]):
    """Rows of a sparse matrix, densified per batch.

    Args:
        inputs: scipy CSR (N, V), float32.
        target: (N,), int64.
    """

    def __init__(self, inputs: Any, target: Tensor) -> None:
        self._inputs, self._target = inputs, target

    def __len__(self) -> int:
        return len(self._target)

    def __getitem__(self, indices: Tensor) -> Batch:
        return torch.from_numpy(self._inputs[indices.numpy()].toarray()), self._target[indices]


@lru_cache(maxsize=8)
def _represent_cached(texts: LabelledTexts, train: tuple[int, ...], options: RepresentationOptions) -> RepresentedTexts:
    """Represent texts once per process for the trials of a seed."""
    return represent_texts(texts.texts, torch.tensor(train, dtype=torch.int64), options)


def _find_overlap(texts: LabelledTexts, reference: Tensor, queries: Tensor) -> Tensor:
    """Return a bool mask (num_queries,): which query texts also occur among the reference texts.

    Case and spaces are ignored.

    Args:
        texts: all texts.
        reference: (num_reference,), int64 indices of texts.
        queries: (num_queries,), int64 indices of texts.
    """
    normalised = _normalise_texts(texts)
    known = {normalised[index] for index in reference.tolist()}
    return torch.tensor([normalised[index] in known for index in queries.tolist()], dtype=torch.bool)


@lru_cache(maxsize=2)
def _normalise_texts(texts: LabelledTexts) -> tuple[str, ...]:
    return tuple(" ".join(text.casefold().split()) for text in texts.texts)

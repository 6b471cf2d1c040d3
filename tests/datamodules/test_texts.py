"""Text data modules: vocabularies of the training split, representations, splits, folds, notes, errors."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import LabelledTexts, Sentiment, TextDataModule
from datamodules.hub_texts import read_named_set

NUM_TEXTS = 60


class Opinions(TextDataModule):
    """60 numbered texts, a third of them bad; `changed` replaces some."""

    def __init__(self, changed=(), sizes=(NUM_TEXTS, 0, 0), twins=(), **options):
        super().__init__(**{"batch_size": 8, "seed": 1} | options)
        self._changed, self._sizes, self._twins = set(changed), sizes, dict(twins)

    def read_texts(self):
        labels = [int(number % 3 > 0) for number in range(NUM_TEXTS)]
        texts = [f"The {('bad', 'good')[label]} food no{number}." for number, label in enumerate(labels)]
        texts = ["entirely other words here" if n in self._changed else text for n, text in enumerate(texts)]
        texts = [texts[self._twins[n]].upper() if n in self._twins else text for n, text in enumerate(texts)]
        return LabelledTexts(
            texts=tuple(texts), labels=np.array(labels), class_names=("bad", "good"), sizes=self._sizes
        )


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def looked_up(data, indices):
    inputs, _ = data.make_examples()[torch.as_tensor(indices)]
    return inputs


REPRESENTATIONS = {
    "binary": {},
    "counts": {"weighting": "count"},
    "tf-idf": {"weighting": "tfidf"},
    "bigrams": {"ngrams": (1, 2)},
    "characters": {"terms": "characters", "ngrams": (2, 3)},
    "tokens": {"representation": "tokens", "length": 6},
    "few words": {"vocabulary_size": 5},
    "few tokens": {"representation": "tokens", "length": 6, "vocabulary_size": 7},
    "frequent words": {"min_df": 5, "weighting": "tfidf"},
}
every_representation = pytest.mark.parametrize("options", REPRESENTATIONS.values(), ids=REPRESENTATIONS)


# --- what is learnt where ---


@every_representation
@pytest.mark.parametrize("folds", [None, 5])
def test_vocabulary_and_idf_come_from_the_training_split_only(options, folds):
    data = ready(Opinions(folds=folds, **options))
    others = torch.cat([data.split.val, data.split.test]).tolist()
    assert len(others) > 10
    changed = ready(Opinions(folds=folds, changed=others, **options))
    assert all(torch.equal(*pair) for pair in zip(data.split, changed.split, strict=True))
    assert changed.vocabulary == data.vocabulary
    assert (changed.input_shape, changed.vocabulary_size) == (data.input_shape, data.vocabulary_size)
    assert torch.equal(looked_up(changed, data.split.train), looked_up(data, data.split.train))


@every_representation
def test_a_changed_training_text_changes_the_vocabulary(options):
    data = ready(Opinions(**options))
    changed = ready(Opinions(changed=data.split.train.tolist(), **options))
    assert changed.vocabulary != data.vocabulary


# --- representations ---


def columns(data, place):
    values = looked_up(data, [place])[0]
    return {term: values[column].item() for column, term in enumerate(data.vocabulary) if values[column]}


def test_bags_are_binary_or_counts():
    class Twice(Opinions):
        def read_texts(self):
            return LabelledTexts(
                texts=("good Good, food",) * 10 + ("bad",) * 10,
                labels=np.array([1] * 10 + [0] * 10),
                class_names=("bad", "good"),
                sizes=(20, 0, 0),
            )

    assert columns(ready(Twice()), 0) == {"good": 1, ",": 1, "food": 1}
    assert columns(ready(Twice(weighting="count")), 0) == {"good": 2, ",": 1, "food": 1}
    assert columns(ready(Twice(weighting="count", lowercase=False)), 0) == {"good": 1, "Good": 1, ",": 1, "food": 1}
    assert columns(ready(Twice(ngrams=(2, 2))), 0) == {"good good": 1, "good ,": 1, ", food": 1}


def test_tf_idf_is_scikit_learns():
    from sklearn.feature_extraction.text import TfidfVectorizer

    data = ready(Opinions(weighting="tfidf"))
    texts = data.texts.texts
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\w+(?:['’]\w+)*|[^\w\s]")
    vectorizer.fit([texts[place] for place in data.split.train])
    expected = vectorizer.transform([texts[place] for place in data.split.test]).toarray()
    torch.testing.assert_close(looked_up(data, data.split.test), torch.from_numpy(expected).float())


def test_bags_stay_sparse_until_the_batch():
    data = ready(Opinions())
    assert data._representation.inputs.nnz < 8 * NUM_TEXTS
    inputs, _ = next(iter(data.train_dataloader()))
    assert (inputs.layout, inputs.dtype, inputs.shape) == (torch.strided, torch.float32, (8, *data.input_shape))


def test_tokens_are_numbered_by_frequency_padded_and_cut():
    data = ready(Opinions(representation="tokens", length=4))
    assert data.vocabulary[:5] == ("<padding>", "<unknown>", *sorted(data.vocabulary[2:5], key=data.vocabulary.index))
    assert set(data.vocabulary[2:5]) == {"the", "food", "."}
    assert data.notes() == ["60 of 60 texts have more than 4 tokens and are truncated."]
    words = [data.vocabulary[number] for number in looked_up(data, [data.split.train[0]])[0]]
    assert words == data.texts.texts[data.split.train[0]].lower().replace(".", " .").split()[:4]
    longer = ready(Opinions(representation="tokens", length=7))
    [ids] = looked_up(longer, [data.split.test[0]]).tolist()
    assert [number == 0 for number in ids] == [False] * 5 + [True] * 2
    assert ids[3] == 1  # its own number stands in no training text


def test_a_vocabulary_size_gives_all_seeds_the_same_shape():
    shapes = {ready(Opinions(seed=seed, vocabulary_size=100)).input_shape for seed in range(3)}
    assert shapes == {(100,)}
    data = ready(Opinions(vocabulary_size=100))
    assert len(data.vocabulary) < 100
    assert looked_up(data, range(NUM_TEXTS))[:, len(data.vocabulary) :].abs().max() == 0
    tokens = ready(Opinions(vocabulary_size=100, representation="tokens"))
    assert (tokens.vocabulary_size, tokens.input_shape) == (100, (64,))
    few = ready(Opinions(vocabulary_size=4, representation="tokens"))
    assert (len(few.vocabulary), looked_up(few, range(NUM_TEXTS)).max()) == (4, 3)


def test_words_of_any_script():
    class Korean(Opinions):
        def read_texts(self):
            return LabelledTexts(
                texts=("안 좋아요! It's not bad",) * 20,
                labels=np.array([1, 0] * 10),
                class_names=("a", "b"),
                sizes=(20, 0, 0),
            )

    assert set(ready(Korean()).vocabulary) == {"안", "좋아요", "!", "it's", "not", "bad"}


# --- splits ---


def test_splits_are_stratified():
    data = ready(Opinions(val_size=0.2, test_size=0.25))
    for indices, size in zip(data.split, (33, 12, 15), strict=True):
        assert len(indices) == size
        assert data.texts.labels[indices.numpy()].sum() == pytest.approx(size * 2 / 3, abs=1)


def test_by_default_the_rest_is_for_training():
    assert [len(part) for part in ready(Opinions()).split] == [42, 6, 12]
    assert [len(part) for part in ready(Opinions(train_size=20)).split] == [20, 6, 12]
    assert [len(part) for part in ready(Opinions(val_size=0, test_size=0)).split] == [60, 0, 0]


def test_a_given_split_is_kept():
    data = ready(Opinions(sizes=(40, 8, 12)))
    assert [part.tolist() for part in data.split[1:]] == [list(range(40, 48)), list(range(48, 60))]
    assert sorted(data.split.train.tolist()) == list(range(40))
    without_val = ready(Opinions(sizes=(40, 8, 12), val_size=0))
    assert [len(part) for part in without_val.split] == [40, 0, 12]
    drawn_val = ready(Opinions(sizes=(48, 0, 12)))
    assert [len(part) for part in drawn_val.split] == [43, 5, 12]


def test_folds_test_every_text_once_in_each_repetition():
    for repetition in range(2):
        tested = [ready(Opinions(folds=5, seed=5 * repetition + fold)).split.test for fold in range(5)]
        assert [len(part) for part in tested] == [12] * 5
        assert sorted(torch.cat(tested).tolist()) == list(range(NUM_TEXTS))
    first, again = (ready(Opinions(folds=5, seed=seed)).split.test.tolist() for seed in (0, 5))
    assert first != again


def test_the_folds_are_the_same_for_every_model_and_representation():
    bags, tokens = (ready(Opinions(folds=5, seed=3, representation=each)) for each in ("bag_of_words", "tokens"))
    assert all(torch.equal(*pair) for pair in zip(bags.split, tokens.split, strict=True))


def test_a_fold_may_be_fixed_while_the_seed_varies():
    one, other = (ready(Opinions(folds=5, fold=2, seed=seed, val_size=0)) for seed in (2, 9))
    assert torch.equal(one.split.test, other.split.test)
    assert torch.equal(one.split.test, ready(Opinions(folds=5, seed=2)).split.test)


def test_validation_of_a_fold_is_drawn_from_the_others():
    data = ready(Opinions(folds=5, seed=1, val_size=0.25))
    assert [len(part) for part in data.split] == [36, 12, 12]
    assert sorted(torch.cat(data.split).tolist()) == list(range(NUM_TEXTS))


# --- texts in two splits ---


def test_texts_in_two_splits_are_noted_and_may_be_dropped():
    split = ready(Opinions()).split
    trained, tested = split.train.tolist(), split.test.tolist()
    twins = {trained[0]: tested[0], trained[1]: tested[0], tested[1]: trained[2]}
    assert ready(Opinions()).notes() == []
    data = ready(Opinions(twins=twins))
    assert data.notes() == [
        (
            "2 of 12 test texts also occur in the training split (with seed 1); overlap: drop removes such training "
            "texts."
        )
    ]
    dropped = ready(Opinions(twins=twins, overlap="drop"))
    assert sorted(dropped.split.train.tolist()) == sorted(set(trained) - set(trained[:3]))
    assert torch.equal(dropped.split.test, data.split.test)
    assert dropped.notes() == ["3 of 42 training texts also occur in validation or test (with seed 1) and are dropped."]


# --- named sets ---


def test_a_named_set_without_the_extra_raises_with_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    read_named_set.cache_clear()
    with pytest.raises(ModuleNotFoundError) as error:
        Sentiment(dataset="imdb").prepare_data()
    assert str(error.value) == (
        "imdb: named sets need Hugging Face's `datasets`, which is not installed; "
        "install it with `pip install 'ablation-suite[text]'` or `uv sync --extra text`"
    )


def test_a_named_set_without_a_network_raises(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets", reason="the extra text is not installed")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    read_named_set.cache_clear()
    with pytest.raises(ConnectionError) as error:
        Sentiment(dataset="imdb").prepare_data()
    assert str(error.value).startswith(
        "imdb: stanfordnlp/imdb is not in the Hugging Face cache and could not be downloaded ("
    )
    assert str(error.value).endswith("). Check the network connection and run again, or set `files` to local files")


@pytest.mark.parametrize("name", ["rotten_tomatoes", "imdb", "yelp_polarity", "sst2"])
def test_named_sets_are_read_as_datasets_gives_them(monkeypatch, name):
    datasets = pytest.importorskip("datasets", reason="the extra text is not installed")
    rows = {"train": 40, "validation": 10, "test": 12}

    def load_dataset(path, split):  # the library's own tables, without its network
        column = "sentence" if "sst2" in path else "text"
        texts = [f"{split} review {number}" for number in range(rows[split])]
        return datasets.Dataset.from_dict({column: texts, "label": [number % 2 for number in range(rows[split])]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    read_named_set.cache_clear()
    data = ready(Sentiment(dataset=name, batch_size=8, seed=1))
    read_named_set.cache_clear()
    sizes = {"rotten_tomatoes": [40, 10, 12], "sst2": [36, 4, 10]}.get(name, [36, 4, 12])
    assert [len(part) for part in data.split] == sizes
    assert data.texts.class_names == ("negative", "positive")
    assert {data.texts.texts[place].split()[0] for place in data.split.test} == (
        {"validation"} if name == "sst2" else {"test"}
    )


# --- errors ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"representation": "token"}, "representation is 'token'; accepted: 'bag_of_words', 'tokens'; did you mean"),
        ({"vocabulary_size": 0}, "vocabulary_size is 0; accepted: an integer of at least 1"),
        (
            {"vocabulary_size": 2, "representation": "tokens"},
            "vocabulary_size is 2; accepted: an integer of at least 3",
        ),
        ({"min_df": 0}, "min_df is 0; accepted: an integer of at least 1"),
        ({"length": 0}, "length is 0; accepted: an integer of at least 1"),
        ({"ngrams": (1,)}, "ngrams is [1]; accepted: two integers [shortest, longest], 1 <= shortest <= longest"),
        ({"ngrams": (2, 1)}, "ngrams is [2, 1]; accepted: two integers [shortest, longest], 1 <= shortest <= longest"),
        (
            {"representation": "tokens", "weighting": "tfidf"},
            "terms, ngrams and weighting apply only to bag_of_words; remove them",
        ),
        ({"folds": 1}, "folds is 1; accepted: an integer of at least 2"),
        ({"folds": 5, "test_size": 0.1}, "folds is 5, so the fold tests; train_size and test_size must be null"),
        ({"folds": 5, "fold": 5}, "fold is 5 and folds is 5; accepted: from 0 up to folds - 1"),
        ({"fold": 0}, "fold is 0 and folds is None; accepted: from 0 up to folds - 1"),
        ({"overlap": "keeps"}, "overlap is 'keeps'; accepted: 'keep', 'drop'; did you mean 'keep'?"),
    ],
)
def test_arguments_that_are_not_accepted(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        Opinions(**arguments)
    assert str(error.value).startswith(f"Opinions: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 43}, "batch_size is 43, but only 42 of 60 texts are in the training split; lower batch_size"),
        (
            {"folds": 21},
            "folds is 21, but class 'bad' has 20 examples; accepted: at most 20, so that each fold has one",
        ),
        ({"min_df": 50}, "no term is in at least min_df = 50 of the 42 training texts"),
        ({"min_df": 50, "representation": "tokens"}, "no term is in at least min_df = 50 of the 42 training texts"),
        ({"train_size": 0.9}, "the sizes exceed the pool of 60 examples: train_size 0.9, val_size 0.1, test_size 0.2"),
        ({"val_size": 30, "test_size": 30}, "val_size 30, test_size 30 of 60 examples leaves none for training"),
        (
            {"sizes": (40, 8, 12), "val_size": 0.1},
            "val_size is 0.1, but the data set already has a validation split; remove val_size, or set it to 0",
        ),
        (
            {"sizes": (40, 8, 12), "test_size": 5},
            "test_size is 5, but the data set already has a test split; remove test_size, or set it to 0",
        ),
        ({"sizes": (40, 8, 12), "folds": 5}, "folds is 5, but the data set already has a test split; remove folds"),
    ],
)
def test_texts_that_do_not_fit_the_arguments(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        Opinions(**arguments).prepare_data()
    assert str(error.value).startswith(f"Opinions: {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [0, 1, 2]}, "labels are [0, 1, 2]; accepted: whole numbers from 0 to 1, since class_names has 2"),
        ({"labels": [-1, 1, 1]}, "labels are [-1, 1]; accepted: whole numbers from 0 to 1"),
        ({"labels": [0.5, 1, 1]}, "labels are [0.5, 1.0]; accepted: whole numbers from 0 to 1"),
        ({"labels": [0, 1]}, "3 texts, labels of shape (2,) and sizes (3, 0, 0); accepted: a label for each text, and"),
        (
            {"sizes": (2, 0, 0)},
            "3 texts, labels of shape (3,) and sizes (2, 0, 0); accepted: a label for each text, and",
        ),
    ],
)
def test_labelled_texts_of_a_user_are_checked(changes, message):
    arguments = {"texts": ["a", "b", "c"], "labels": [0, 1, 1], "class_names": ["no", "yes"], "sizes": (3, 0, 0)}
    found = LabelledTexts(**arguments)
    assert (found.labels.dtype, found.texts) == (np.int64, ("a", "b", "c"))
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        LabelledTexts(**arguments | changes)
    assert str(error.value).startswith(f"LabelledTexts: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either `files` or `dataset`, one of rotten_tomatoes, imdb, yelp_polarity, sst2"),
        ({"files": "a.tsv", "dataset": "imdb"}, "give either `files` or `dataset`"),
        (
            {"dataset": "imbd"},
            "dataset is 'imbd'; accepted: 'rotten_tomatoes', 'imdb', 'yelp_polarity', 'sst2'; did you",
        ),
        ({"files": "a.tsv", "labels": [0, 1], "threshold": 3}, "give `labels` or a `threshold`, not both"),
        ({"files": "a.tsv", "threshold": float("nan")}, "threshold is nan; accepted: a finite number"),
        ({"files": "a.tsv", "labels": ["a"]}, "labels is ['a']; accepted: two labels or more, each once"),
        ({"files": "a.tsv", "labels": ["a", "a"]}, "labels is ['a', 'a']; accepted: two labels or more, each once"),
    ],
)
def test_arguments_of_sentiment_that_are_not_accepted(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        Sentiment(**arguments)
    assert str(error.value).startswith(f"Sentiment: {message}")


def test_a_subclass_without_read_texts_raises():
    with pytest.raises(
        NotImplementedError, match=r"TextDataModule: write read_texts\(self\), which returns LabelledTexts"
    ):
        TextDataModule(seed=1).prepare_data()


# --- the real files ---

SHARED = Path(os.environ.get("ABLATE_DATA_DIR", "absent"))
needs_reviews = pytest.mark.skipif(
    not (SHARED / "restaurant_reviews").is_dir(), reason="no sentiment files in the folder that ABLATE_DATA_DIR names"
)


@needs_reviews
def test_the_real_files_have_the_rows_and_classes_of_their_readme():
    reviews = Sentiment("restaurant_reviews/Restaurant_Reviews.tsv", text="Review", label="Liked").texts
    assert (len(reviews.texts), reviews.labels.sum(), reviews.notes) == (1000, 500, ())
    for name in ("yelp", "imdb", "amazon_cells"):
        found = Sentiment(f"uci_sentiment/{name}_labelled.txt", text=0, label=1).texts
        assert (len(found.texts), found.labels.sum(), found.class_names) == (1000, 500, ("0", "1"))
    polarity = Sentiment(
        {"neg": "rt_polarity/rt-polarity.neg", "pos": "rt_polarity/rt-polarity.pos"}, encoding="latin-1"
    ).texts
    assert (len(polarity.texts), polarity.labels.sum(), polarity.class_names) == (10_662, 5_331, ("neg", "pos"))
    sst = Sentiment(
        {"train": "sst2/train.tsv", "val": "sst2/dev.tsv", "test": "sst2/test.tsv"}, text=0, label=1, seed=0
    )
    assert (sst.texts.sizes, sst.texts.labels.sum()) == ((6_920, 872, 1_821), 3_610 + 444 + 909)
    assert sst.notes() == [
        (
            "2 of 1,821 test texts also occur in the training split (with seed 0); overlap: drop removes such training "
            "texts."
        )
    ]


@needs_reviews
def test_the_yelp_sentences_of_uci_are_the_restaurant_reviews():
    one = Sentiment("restaurant_reviews/Restaurant_Reviews.tsv", text="Review", label="Liked").texts
    other = Sentiment("uci_sentiment/yelp_labelled.txt", text=0, label=1).texts
    assert np.array_equal(one.labels, other.labels)

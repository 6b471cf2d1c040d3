import itertools
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from datamodules.synthetic_reviews import _NEGATED, _PLAIN, _TURNED, draw_reviews

FILE = Path(__file__).parents[2] / "datamodules" / "synthetic_reviews.py"


@pytest.fixture(scope="module")
def reviews():
    return draw_reviews(6000, seed=1)


def accuracy(reviews, longest):
    """Return the accuracy on 2,000 reviews of logistic regression on n-gram counts, n <= `longest`, in 4,000 others."""
    texts, labels = reviews
    counts = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, longest))
    model = LogisticRegression(C=10, max_iter=2000).fit(counts.fit_transform(texts[:4000]), labels[:4000])
    return model.score(counts.transform(texts[4000:]), labels[4000:])


def test_equal_arguments_give_equal_reviews():
    assert draw_reviews(50, seed=3) == draw_reviews(50, seed=3)
    assert draw_reviews(50, seed=3) != draw_reviews(50, seed=4)


def test_a_few_reviews_are_as_they_are():
    assert draw_reviews(4, seed=0) == (
        [
            "i found the director great and the ending good and that is all",
            "honestly , although the acting was awful , the trailer was good by the way",
            "honestly , although the trailer was good , the acting was awful by the way",
            "i found the director mediocre and the ending terrible and that is all",
        ],
        [1, 1, 0, 0],
    )


@pytest.mark.parametrize("num_reviews", [1, 2, 7, 100])
def test_the_numbers_of_reviews_and_labels_are_correct_within_one(num_reviews):
    texts, labels = draw_reviews(num_reviews, seed=5)
    assert len(texts) == len(labels) == num_reviews
    assert set(labels) <= {0, 1}
    assert abs(labels.count(1) - labels.count(0)) <= 1


def test_labels_are_in_no_order(reviews):
    _, labels = reviews
    assert 1300 < sum(labels[:3000]) < 1700
    assert 2700 < sum(one != other for one, other in itertools.pairwise(labels)) < 3300


def test_reviews_are_4_to_20_lower_case_words_from_a_small_vocabulary(reviews):
    texts, _ = reviews
    words = {word for text in texts for word in text.split()}
    assert all(word == "," or (word.isalpha() and word.islower()) for word in words)
    assert 200 <= len(words) <= 400
    lengths = Counter(len(text.split()) for text in texts)
    assert min(lengths) == 4
    assert max(lengths) <= 20
    assert all(lengths[length] > 20 for length in range(4, 18))
    assert not any("{" in text or text != " ".join(text.split()) for text in texts)


@pytest.mark.parametrize("seed", range(3))
def test_hardly_any_review_is_there_twice_and_none_with_two_labels(seed):
    texts, labels = draw_reviews(5000, seed=seed)
    assert len(set(texts)) > 0.999 * len(texts)
    of = defaultdict(set)
    for text, label in zip(texts, labels, strict=True):
        of[text].add(label)
    assert all(len(found) == 1 for found in of.values())


def test_nearly_half_of_the_reviews_have_an_anagram_of_the_opposite_label(reviews):
    by_words = defaultdict(set)
    for text, label in zip(*reviews, strict=True):
        by_words[tuple(sorted(text.split()))].add(label)
    twins = [label for text, label in zip(*reviews, strict=True) if len(by_words[tuple(sorted(text.split()))]) == 2]
    assert 0.42 < len(twins) / 6000 < 0.48
    assert sum(twins) * 2 == len(twins)


def test_turned_templates_are_anagrams_of_each_other():
    for positive, negative in _TURNED:
        assert positive != negative
        assert sorted(positive.split()) == sorted(negative.split())


@pytest.mark.parametrize("kind", [_PLAIN, _NEGATED])
def test_other_templates_do_not_name_a_sentiment_themselves(kind):
    assert not any("{good}" in template or "{bad}" in template for template in kind)


def test_counting_words_is_better_than_chance_and_far_from_enough(reviews):
    assert 0.60 < accuracy(reviews, longest=1) < 0.75  # 0.63


def test_word_order_predicts_what_word_counts_do_not(reviews):
    assert accuracy(reviews, longest=2) > 0.95  # 0.96


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 1), "num_reviews is 0; at least 1 is needed"), ((5, -1), "seed is -1; at least 0 is needed")],
)
def test_arguments_out_of_range_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_reviews(*arguments)


def test_it_needs_no_torch():
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('reviews', {str(FILE)!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(len(module.draw_reviews(3, 0)[0]), 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "3 False\n"

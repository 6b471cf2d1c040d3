"""Synthetic reviews whose sentiment depends on the order of their words.

They are for studies that need text without a download and compare models of word order with models of word counts.
Every review is a template filled with words; both are data below. There are three kinds of templates:

- plain: the words carry the sentiment, so word counts predict it better than chance;
- negated: "not", "never" and similar words invert the sentiment of the next word;
- turned: two templates with the same words and opposite sentiment, such as "the soup was great but the service was
  awful" and "the service was awful but the soup was great". The clause after "but", outside "although", about now
  instead of "at first", or outside "not" determines the sentiment. Word counts cannot distinguish the two.

A linear model of single words classifies 63 % of the reviews correctly, one that also counts pairs of neighbours 96 %
(scikit-learn's LogisticRegression on 4,000 reviews; tests/datamodules/test_synthetic_reviews.py).
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

AnyT = TypeVar("AnyT")

NEGATIVE, POSITIVE = 0, 1

SHARES = {"plain": 0.45, "negated": 0.10, "turned": 0.45}
"""Expected share of each kind of template."""

_TOPICS = {  # topic -> its parts, and adjectives only for it
    "restaurant": {
        "part": "soup salad pasta pizza bread cheese fish steak rice curry dessert coffee wine menu service waiter "
        "chef kitchen table breakfast lunch dinner sauce tea burger noodles tofu chicken terrace",
        "good": "delicious tasty fresh",
        "bad": "bland stale greasy",
    },
    "film": {
        "part": "plot story script dialogue acting cast actor director camera music score ending opening villain hero "
        "humour editing scenery pacing sequel trailer costumes animation soundtrack twist finale lighting",
        "good": "gripping moving witty",
        "bad": "predictable shallow tedious",
    },
    "product": {
        "part": "battery screen keyboard speaker cable charger case button manual packaging delivery software sound "
        "handle motor lid filter strap zip hinge price lens pump kettle lamp mattress jacket",
        "good": "sturdy reliable handy",
        "bad": "flimsy faulty useless",
    },
}
_WORDS = {  # for every topic
    "good": "good great excellent wonderful superb lovely brilliant fantastic pleasant perfect impressive remarkable",
    "bad": "bad awful terrible horrible dreadful poor disappointing annoying mediocre ugly unpleasant lousy",
    "like": "loved liked enjoyed praised admired recommended",
    "dislike": "hated disliked regretted criticised mocked returned",
    "very": "very really quite so truly rather",
    "who": "i we they everyone",
    "turn": "not never hardly scarcely",
}
_PHRASES = {  # without sentiment; half of the reviews have no opening, half no closing
    "opening": "honestly ,/last week/in my view ,/to be fair ,/as usual ,/for the record ,/this time/on monday/well ,/"
    "after two visits ,/as expected ,/without a doubt ,/this year/yesterday/in short ,/on second thoughts ,/once again",
    "closing": "in the end/for the money/said my brother/and that is all/if you ask me/that evening/in our opinion/"
    "by the way/as my friends agreed/from start to finish/to my mind/more than once/on the whole/at this price",
}
# Slots: {a} and {b} are two parts of a topic, {good} and {bad} adjectives. In plain templates {adjective}, {other} and
# {liked} have the review's sentiment, in negated ones the opposite.
_PLAIN = (
    "the {a} was {adjective}",
    "the {a} was {very} {adjective}",
    "{very} {adjective} {a} and {other} {b}",
    "the {a} was {adjective} and the {b} was {very} {other}",
    "{who} {liked} the {a} and the {b}",
    "{who} {liked} the {adjective} {a}",
    "how {adjective} the {a} , how {other} the {b}",
    "{who} found the {a} {adjective} and the {b} {other}",
    "the {a} , the {b} , all of it was {adjective}",
)
_NEGATED = (
    "the {a} was {turn} {adjective}",
    "the {a} and the {b} were {turn} {adjective}",
    "{who} found the {a} {turn} {adjective}",
    "the {a} was far from {adjective} and so was the {b}",
)
_TURNED = (  # (positive, negative): the same words
    ("the {b} was {bad} but the {a} was {good}", "the {a} was {good} but the {b} was {bad}"),
    ("{who} found the {b} {bad} but the {a} {good}", "{who} found the {a} {good} but the {b} {bad}"),
    ("although the {b} was {bad} , the {a} was {good}", "although the {a} was {good} , the {b} was {bad}"),
    ("the {a} was {good} although the {b} was {bad}", "the {b} was {bad} although the {a} was {good}"),
    ("the {a} was {bad} at first but is {good} now", "the {a} was {good} at first but is {bad} now"),
    ("the {a} is {good} now but was {bad} before", "the {a} is {bad} now but was {good} before"),
    ("the {a} was {good} , not {bad}", "the {a} was {bad} , not {good}"),
    ("not {bad} at all , the {a} was {very} {good}", "not {good} at all , the {a} was {very} {bad}"),
    (
        "{who} expected something {bad} and the {a} was {good}",
        "{who} expected something {good} and the {a} was {bad}",
    ),
    ("the {a} was {good} instead of {bad}", "the {a} was {bad} instead of {good}"),
)


def draw_reviews(num_reviews: int, seed: int) -> tuple[list[str], list[int]]:
    """Draw synthetic reviews in random order, and their labels: 1 positive, 0 negative, equally many within one.

    Reviews are drawn in pairs of opposite sentiment that share a template and, as far as its kind allows, its words.
    They consist of 4 to 20 lower-case words and commas, separated by spaces. Short reviews may repeat: of 5,000, less
    than 0.1 % are duplicates. No text has two labels.

    Args:
        num_reviews: the number of reviews, at least 1.
        seed: at least 0. Equal arguments give equal reviews.

    Raises:
        ValueError: `num_reviews` is below 1, or `seed` is negative.

    >>> texts, labels = draw_reviews(2, seed=0)
    >>> len(texts), sorted(labels)
    (2, [0, 1])
    """
    if num_reviews < 1:
        raise ValueError(f"num_reviews is {num_reviews}; at least 1 is needed")
    if seed < 0:
        raise ValueError(f"seed is {seed}; at least 0 is needed")
    generator = np.random.default_rng(seed)
    reviews = [review for _ in range((num_reviews + 1) // 2) for review in _draw_pair(generator)][:num_reviews]
    shuffled = [reviews[index] for index in generator.permutation(num_reviews)]
    return [text for text, _ in shuffled], [label for _, label in shuffled]


def _draw_pair(generator: np.random.Generator) -> list[tuple[str, int]]:
    """Draw a positive and a negative review from one template."""
    kind = list(SHARES)[generator.choice(len(SHARES), p=list(SHARES.values()))]
    topic = _TOPICS[_draw_one(list(_TOPICS), generator)]
    words = {name: text.split() for name, text in _WORDS.items()}
    adjectives = {name: [*words[name], *topic[name].split()] for name in ("good", "bad")}
    parts = generator.permutation(topic["part"].split())
    fixed = {"a": parts[0], "b": parts[1]} | {
        name: _draw_one(words[name], generator) for name in ("very", "who", "turn")
    }
    fixed |= {name: _draw_one(of_one_sentiment, generator) for name, of_one_sentiment in adjectives.items()}
    opening, closing = (_draw_one(["", _draw_one(text.split("/"), generator)], generator) for text in _PHRASES.values())
    if kind == "turned":
        positive, negative = _draw_one(_TURNED, generator)
    else:
        template = _draw_one(_PLAIN if kind == "plain" else _NEGATED, generator)
        good = _fill(template, _draw_words(adjectives["good"], words["like"], generator))
        bad = _fill(template, _draw_words(adjectives["bad"], words["dislike"], generator))
        positive, negative = (good, bad) if kind == "plain" else (bad, good)
    return [
        (" ".join(f"{opening} {_fill(template, fixed)} {closing}".split()), label)
        for template, label in ((positive, POSITIVE), (negative, NEGATIVE))
    ]


def _draw_words(adjectives: Sequence[str], verbs: Sequence[str], generator: np.random.Generator) -> dict[str, str]:
    adjective, other = generator.choice(adjectives, size=2, replace=False)
    return {"adjective": adjective, "other": other, "liked": _draw_one(verbs, generator)}


def _fill(template: str, words: Mapping[str, str]) -> str:
    """Fill the slots of a template for which there are words."""
    for slot, word in words.items():
        template = template.replace(f"{{{slot}}}", word)
    return template


def _draw_one(choices: Sequence[AnyT], generator: np.random.Generator) -> AnyT:
    return choices[int(generator.integers(len(choices)))]

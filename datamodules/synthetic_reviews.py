"""Made-up reviews whose sentiment lies in the order of their words. SYNTHETIC: nobody wrote these.

For studies that need text without a download, and in which a model that reads order can be told from one that counts
words. Every review is a template filled with words; both are data below. Templates come in three kinds:

- plain: the words carry the sentiment, so counting them is better than chance;
- negated: "not", "never" and the like turn the next word's sentiment over;
- turned: two templates that are anagrams of each other and mean the opposite, such as "the soup was great but the
  service was awful" and "the service was awful but the soup was great". What stands after "but", outside of "although",
  now rather than at first, outside of "not" decides. Counting words cannot tell the two apart.

A linear model of single words gets 63 % of the reviews right, one that also counts pairs of neighbours 96 % (scikit-
learn's LogisticRegression on 4,000 reviews; tests/datamodules/test_synthetic_reviews.py).
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

AnyT = TypeVar("AnyT")

NEGATIVE, POSITIVE = 0, 1

SHARES = {"plain": 0.45, "negated": 0.10, "turned": 0.45}
"""How much of the reviews is of which kind, on average."""

_TOPICS = {  # what is reviewed: its parts, and words that suit only it
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
_WORDS = {  # what suits every topic
    "good": "good great excellent wonderful superb lovely brilliant fantastic pleasant perfect impressive remarkable",
    "bad": "bad awful terrible horrible dreadful poor disappointing annoying mediocre ugly unpleasant lousy",
    "like": "loved liked enjoyed praised admired recommended",
    "dislike": "hated disliked regretted criticised mocked returned",
    "very": "very really quite so truly rather",
    "who": "i we they everyone",
    "turn": "not never hardly scarcely",
}
_PHRASES = {  # of no sentiment; half of the reviews begin or end without one
    "opening": "honestly ,/last week/in my view ,/to be fair ,/as usual ,/for the record ,/this time/on monday/well ,/"
    "after two visits ,/as expected ,/without a doubt ,/this year/yesterday/in short ,/on second thoughts ,/once again",
    "closing": "in the end/for the money/said my brother/and that is all/if you ask me/that evening/in our opinion/"
    "by the way/as my friends agreed/from start to finish/to my mind/more than once/on the whole/at this price",
}
# Slots: {a} and {b} are two parts of a topic, {good} and {bad} adjectives of either sentiment; in a plain or negated
# template {adjective}, {other} and {liked} have the sentiment of the words, which is the review's or its opposite.
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


def synthetic_reviews(num_reviews: int, seed: int) -> tuple[list[str], list[int]]:
    """Synthetic reviews in random order, and their labels: 1 positive, 0 negative, as many of each (within one).

    Reviews come in pairs of opposite sentiment that share a template and its words as far as their kind allows, both
    of them here. All are lower-case words and commas with spaces between, 4 to 20 of them. A review of few words may be
    drawn again: of 5,000, less than 0.1 % are there twice. No text has two labels.

    Args:
        num_reviews: how many, at least 1.
        seed: of all draws, at least 0. Equal arguments give equal reviews.

    Raises:
        ValueError: `num_reviews` is below 1, or `seed` is negative.

    >>> texts, labels = synthetic_reviews(2, seed=0)
    >>> len(texts), sorted(labels)
    (2, [0, 1])
    """
    if num_reviews < 1:
        raise ValueError(f"num_reviews is {num_reviews}; at least 1 is needed")
    if seed < 0:
        raise ValueError(f"seed is {seed}; at least 0 is needed")
    generator = np.random.default_rng(seed)
    reviews = [review for _ in range((num_reviews + 1) // 2) for review in _pair(generator)][:num_reviews]
    shuffled = [reviews[place] for place in generator.permutation(num_reviews)]
    return [text for text, _ in shuffled], [label for _, label in shuffled]


def _pair(generator: np.random.Generator) -> list[tuple[str, int]]:
    """A positive and a negative review of one template."""
    kind = list(SHARES)[generator.choice(len(SHARES), p=list(SHARES.values()))]
    topic = _TOPICS[_one(list(_TOPICS), generator)]
    words = {name: text.split() for name, text in _WORDS.items()}
    adjectives = {name: [*words[name], *topic[name].split()] for name in ("good", "bad")}
    parts = generator.permutation(topic["part"].split())
    fixed = {"a": parts[0], "b": parts[1]} | {name: _one(words[name], generator) for name in ("very", "who", "turn")}
    fixed |= {name: _one(of_one_sentiment, generator) for name, of_one_sentiment in adjectives.items()}
    opening, closing = (_one(["", _one(text.split("/"), generator)], generator) for text in _PHRASES.values())
    if kind == "turned":
        positive, negative = _one(_TURNED, generator)
    else:
        template = _one(_PLAIN if kind == "plain" else _NEGATED, generator)
        good = _filled(template, _sentiment(adjectives["good"], words["like"], generator))
        bad = _filled(template, _sentiment(adjectives["bad"], words["dislike"], generator))
        positive, negative = (good, bad) if kind == "plain" else (bad, good)
    return [
        (" ".join(f"{opening} {_filled(template, fixed)} {closing}".split()), label)
        for template, label in ((positive, POSITIVE), (negative, NEGATIVE))
    ]


def _sentiment(adjectives: Sequence[str], verbs: Sequence[str], generator: np.random.Generator) -> dict[str, str]:
    adjective, other = generator.choice(adjectives, size=2, replace=False)
    return {"adjective": adjective, "other": other, "liked": _one(verbs, generator)}


def _filled(template: str, words: Mapping[str, str]) -> str:
    """The template with those of its slots filled that there are words for."""
    for slot, word in words.items():
        template = template.replace(f"{{{slot}}}", word)
    return template


def _one(choices: Sequence[AnyT], generator: np.random.Generator) -> AnyT:
    return choices[int(generator.integers(len(choices)))]

"""Checks on the arguments of data modules: the message says whose argument, what was found and what is accepted."""

from collections.abc import Sequence
from difflib import get_close_matches


def check_integer(owner: str, name: str, value: object, minimum: int) -> None:
    """Raise unless `value` is an integer of at least `minimum`.

    Raises:
        ValueError: it is not.

    >>> check_integer("Digits", "batch_size", 0, minimum=1)
    Traceback (most recent call last):
    ValueError: Digits: batch_size is 0; accepted: an integer of at least 1
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{owner}: {name} is {value!r}; accepted: an integer of at least {minimum}")


def check_batch_size(owner: str, name: str, value: object) -> None:
    """Raise unless `value` is an integer of at least 1, or "all".

    Raises:
        ValueError: it is not.

    >>> check_batch_size("Digits", "batch_size", 0)
    Traceback (most recent call last):
    ValueError: Digits: batch_size is 0; accepted: an integer of at least 1, or 'all'
    """
    if value != "all" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{owner}: {name} is {value!r}; accepted: an integer of at least 1, or 'all'")


def check_choice(owner: str, name: str, value: object, accepted: Sequence[str]) -> None:
    """Raise unless `value` is one of `accepted`.

    Raises:
        ValueError: it is not; the message names the nearest match.

    >>> check_choice("Sentiment", "representation", "token", ["bag_of_words", "tokens"])
    Traceback (most recent call last):
    ValueError: Sentiment: representation is 'token'; accepted: 'bag_of_words', 'tokens'; did you mean 'tokens'?
    """
    if value not in accepted:
        raise ValueError(
            f"{owner}: {name} is {value!r}; accepted: {', '.join(map(repr, accepted))}{did_you_mean(value, accepted)}"
        )


def did_you_mean(value: object, accepted: Sequence[str]) -> str:
    """A hint at the nearest match, or nothing.

    >>> did_you_mean("Revew", ["Review", "Liked"])
    "; did you mean 'Review'?"
    """
    nearest = get_close_matches(str(value), accepted, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""

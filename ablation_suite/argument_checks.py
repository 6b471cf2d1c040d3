"""Checks on the arguments of networks and data modules. A message names class and argument, and lists what is accepted.

jsonargparse checks types in configurations. These checks add ranges, and both for objects made in Python. They are here
because lit_models and datamodules import nothing else of the suite, and not each other.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import TypeGuard


def check_choice(owner: str, name: str, value: object, accepted: Sequence[str]) -> None:
    """Raise unless `value` is one of `accepted`.

    Raises:
        ValueError: it is not; the message names the nearest match.

    >>> check_choice("MLP", "activation", "rleu", ["relu", "tanh"])
    Traceback (most recent call last):
    ValueError: MLP: activation is 'rleu'; accepted: 'relu', 'tanh'; did you mean 'relu'?
    """
    if value not in accepted:
        choices = ", ".join(map(repr, accepted))
        raise ValueError(f"{owner}: {name} is {value!r}; accepted: {choices}{suggest(value, accepted)}")


def check_integer(owner: str, name: str, value: object, minimum: int = 1) -> None:
    """Raise unless `value` is an integer of at least `minimum`.

    Raises:
        ValueError: it is not.

    >>> check_integer("ConvNet", "pool_size", 0)
    Traceback (most recent call last):
    ValueError: ConvNet: pool_size is 0; accepted: an integer of at least 1
    """
    if not is_integer(value, minimum):
        raise ValueError(f"{owner}: {name} is {value!r}; accepted: an integer of at least {minimum}")


def check_integers(owner: str, name: str, values: object) -> None:
    """Raise unless `values` is a list or tuple of positive integers; an empty one passes.

    Raises:
        ValueError: it is not.

    >>> check_integers("MLP", "hidden", [128, 0])
    Traceback (most recent call last):
    ValueError: MLP: hidden is [128, 0]; accepted: a list of integers, each at least 1
    """
    if not isinstance(values, list | tuple) or not all(is_integer(value, 1) for value in values):
        raise ValueError(f"{owner}: {name} is {values!r}; accepted: a list of integers, each at least 1")


def check_rate(owner: str, name: str, value: object) -> None:
    """Raise unless 0 <= `value` < 1.

    Raises:
        ValueError: it is not.

    >>> check_rate("MLP", "dropout", 1.0)
    Traceback (most recent call last):
    ValueError: MLP: dropout is 1.0; accepted: a number from 0 up to, not including, 1
    """
    if not (_is_finite(value) and 0 <= value < 1):
        raise ValueError(f"{owner}: {name} is {value!r}; accepted: a number from 0 up to, not including, 1")


def check_positive(owner: str, name: str, value: object) -> None:
    """Raise unless `value` is a finite number above 0.

    Raises:
        ValueError: it is not.

    >>> check_positive("MLP", "pretraining_lr", 0)
    Traceback (most recent call last):
    ValueError: MLP: pretraining_lr is 0; accepted: a number above 0
    """
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"{owner}: {name} is {value!r}; accepted: a number above 0")


def check_argument_names(owner: str, given: Iterable[str], accepted: Sequence[str]) -> None:
    """Raise unless every argument's name is one of `accepted`.

    Raises:
        TypeError: a name is not; the message names the nearest match.

    >>> check_argument_names("MLP", ["hiden"], ["hidden", "init"])
    Traceback (most recent call last):
    TypeError: MLP: there is no argument 'hiden'; did you mean 'hidden'?
    """
    for name in given:
        if name not in accepted:
            raise TypeError(f"{owner}: there is no argument {name!r}{suggest(name, accepted)}")


def check_penalty(owner: str, name: str, value: object) -> None:
    """Raise unless `value` is None or a finite number of at least 0.

    Raises:
        ValueError: it is not.

    >>> check_penalty("MLP", "l1", -0.1)
    Traceback (most recent call last):
    ValueError: MLP: l1 is -0.1; accepted: a number of at least 0, or None for no penalty
    """
    if value is not None and not (_is_finite(value) and value >= 0):
        raise ValueError(f"{owner}: {name} is {value!r}; accepted: a number of at least 0, or None for no penalty")


def expand_per_layer(
    owner: str, name: str, value: int | Sequence[int], num_layers: int, minimum: int = 1
) -> tuple[int, ...]:
    """One value for each layer, from one for all of them or from a list.

    Raises:
        ValueError: a list of another length, or a value that is not an integer of at least `minimum`.

    >>> expand_per_layer("ConvNet", "kernel_size", 5, num_layers=3)
    (5, 5, 5)
    >>> expand_per_layer("ConvNet", "kernel_size", [5, 3], num_layers=3)
    Traceback (most recent call last):
    ValueError: ConvNet: kernel_size is [5, 3]; accepted: an integer of at least 1, or a list of 3, one for each layer
    """
    values = (value,) * num_layers if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else None
    if values is None or len(values) != num_layers or not all(is_integer(each, minimum) for each in values):
        raise ValueError(
            f"{owner}: {name} is {value!r}; accepted: an integer of at least {minimum}, "
            f"or a list of {num_layers}, one for each layer"
        )
    return values


def suggest(value: object, accepted: Sequence[str]) -> str:
    """Return the end of a message with the nearest match, whatever its case; empty if none is near.

    >>> suggest("revew", ["Review", "Liked"])
    "; did you mean 'Review'?"
    """
    by_lower_case = {each.lower(): each for each in accepted}
    nearest = get_close_matches(str(value).lower(), by_lower_case, n=1)
    return f"; did you mean {by_lower_case[nearest[0]]!r}?" if nearest else ""


def is_integer(value: object, minimum: int) -> bool:
    """Return True for an integer of at least `minimum`; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)

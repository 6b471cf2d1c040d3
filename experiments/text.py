"""Words, names and durations in messages."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 16  # of longer lists only the nearest match is shown


def describe_choices(word: object, accepted: Iterable[object], label: str = "accepted") -> str:
    """Return the end of a sentence about a wrong word: the nearest match and the accepted words.

    >>> describe_choices("dropuot", ["hidden", "dropout"])
    "; did you mean 'dropout'? accepted: hidden, dropout"
    >>> describe_choices("zzz", ["hidden", "dropout"], "arguments")
    '; arguments: hidden, dropout'
    """
    names = [str(name) for name in accepted]
    matches = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    hint = f"did you mean {matches[0]!r}?" if matches else ""
    if matches and len(names) > MAX_LISTED:
        return f"; {hint}"
    return f"; {hint} {label}: {join_names(names)}" if hint else f"; {label}: {join_names(names)}"


def escape_surrogates(text: str) -> str:
    r"""Escape lone surrogates, as in a file name of unknown encoding, which files and terminals reject.

    >>> escape_surrogates("caf\udce9")
    'caf\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def escape_controls(text: str) -> str:
    r"""Escape control characters, so that a text stays on one line and cannot control a terminal.

    >>> escape_controls("two\nlines, a\ttab and é")
    'two\\nlines, a\\ttab and é'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def join_names(names: Iterable[object]) -> str:
    """Join names for a sentence.

    >>> join_names(["a", "b"])
    'a, b'
    >>> join_names([])
    'none'
    """
    return ", ".join(str(name) for name in names) or "none"


def format_duration(seconds: float) -> str:
    """Format a duration in the two largest units.

    >>> [format_duration(seconds) for seconds in (0.4, 59, 61, 3725)]
    ['1 s', '59 s', '1 min 01 s', '1 h 02 min']
    """
    whole = max(1, round(seconds))
    if whole < 60:  # noqa: PLR2004 -- seconds of a minute
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004 -- seconds of an hour
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

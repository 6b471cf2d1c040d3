"""Words, names and durations as messages show them."""

import difflib
from collections.abc import Iterable

MOST_LISTED = 16  # longer lists of what is accepted hide the nearest match more than they help


def choices(word: object, accepted: Iterable[object], label: str = "accepted") -> str:
    """The end of a sentence about a wrong word: the nearest match, and all that is accepted.

    >>> choices("dropuot", ["hidden", "dropout"])
    "; did you mean 'dropout'? accepted: hidden, dropout"
    >>> choices("zzz", ["hidden", "dropout"], "arguments")
    '; arguments: hidden, dropout'
    """
    names = [str(name) for name in accepted]
    matches = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    hint = f"did you mean {matches[0]!r}?" if matches else ""
    if matches and len(names) > MOST_LISTED:
        return f"; {hint}"
    return f"; {hint} {label}: {listed(names)}" if hint else f"; {label}: {listed(names)}"


def writable(text: str) -> str:
    r"""A text that files and terminals take: half a surrogate pair, as of a file name in no encoding, is escaped.

    >>> writable("caf\udce9")
    'caf\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def visible(text: str) -> str:
    r"""A text with its control characters written as escapes, so that it stays on one line and cannot steer a terminal.

    >>> visible("two\nlines, a\ttab and é")
    'two\\nlines, a\\ttab and é'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def listed(names: Iterable[object]) -> str:
    """Names as a reader wants them in a sentence.

    >>> listed(["a", "b"])
    'a, b'
    >>> listed([])
    'none'
    """
    return ", ".join(str(name) for name in names) or "none"


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> [duration(seconds) for seconds in (0.4, 59, 61, 3725)]
    ['1 s', '59 s', '1 min 01 s', '1 h 02 min']
    """
    whole = max(1, round(seconds))
    if whole < 60:  # noqa: PLR2004 -- seconds of a minute
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004 -- seconds of an hour
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

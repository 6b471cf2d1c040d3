"""What can be wrong with what a user gives, as one small tree.

InputError                  the command ends with exit code 2 and this message, never a traceback
├── StudyError              a study file, with all its problems at once
├── DirectoryError          a study folder that cannot be used: missing, another study's, in use
├── RunnerError             a runner that cannot be had: Ray not installed, a cluster that does not answer or is gone
└── LedgerError             a ledger.sqlite that cannot be read: corrupt, not a ledger, from a newer version
    └── EmptyLedgerError    one that holds nothing yet, which `ablate run` fills
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class InputError(Exception):
    """Something a user can mend. The message says what, where, what is accepted, and how to mend it."""


class DirectoryError(InputError):
    """A study folder that cannot be used."""


class RunnerError(InputError):
    """A runner that cannot be had, or is gone."""


class LedgerError(InputError):
    """A ledger file that cannot be read or written."""


MOST_LISTED = 16  # longer lists of what is accepted hide the nearest match more than they help


class EmptyLedgerError(LedgerError):
    """A ledger file without content: a command was killed just as it made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in a study: `where` is the key path ("" for the whole file), `what` the sentence.

    is_absent_data: whether it is only that data are not there and could not be had.
    """

    where: str
    what: str
    is_absent_data: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class StudyError(InputError):
    """Everything that is wrong with one study, collected before anything is trained."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = [f"{source}: {problem}" for problem in self.problems]
        head = [] if len(lines) == 1 else [f"{source} has {len(lines)} problems"]
        super().__init__("\n".join([*head, *lines]))

    @property
    def is_absent_data(self) -> bool:
        """Whether nothing else is wrong than that data are not there and could not be had."""
        return all(problem.is_absent_data for problem in self.problems)

    def __reduce__(self) -> tuple[type["StudyError"], tuple[str, tuple[Problem, ...]]]:
        return StudyError, (self.source, self.problems)  # it travels from a worker process to the command


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

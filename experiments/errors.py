"""Errors that users can mend, as one small tree.

InputError                  the command ends with exit code 2 and this message, never a traceback
├── StudyError              all problems of a study file at once
├── DirectoryError          a study folder that cannot be used: missing, another study's, in use
├── RunnerError             a runner that is not available: Ray is not installed, a cluster does not answer or is gone
└── LedgerError             a ledger.sqlite that cannot be read: corrupt, not a ledger, from a newer version
    └── EmptyLedgerError    one without content, which `ablate run` fills
"""

from collections.abc import Sequence
from dataclasses import dataclass


class InputError(Exception):
    """Error that a user can mend. The message says what is wrong, where, what is accepted, and how to mend it."""


class DirectoryError(InputError):
    """Error in the use of a study folder."""


class RunnerError(InputError):
    """A runner is not available, or is gone."""


class LedgerError(InputError):
    """Error in reading or writing a ledger file."""


class EmptyLedgerError(LedgerError):
    """A ledger file has no content: a command was killed while it created the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Problem in a study.

    where: path of the key; "" for the whole file.
    what: the problem, as a sentence.
    is_absent_data: whether the only problem is that data are absent and could not be downloaded.
    """

    where: str
    what: str
    is_absent_data: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class StudyError(InputError):
    """All problems of one study, collected before anything is trained."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = [f"{source}: {problem}" for problem in self.problems]
        head = [] if len(lines) == 1 else [f"{source} has {len(lines)} problems"]
        super().__init__("\n".join([*head, *lines]))

    @property
    def is_absent_data(self) -> bool:
        """Return True if all problems are absent data."""
        return all(problem.is_absent_data for problem in self.problems)

    def __reduce__(self) -> tuple[type["StudyError"], tuple[str, tuple[Problem, ...]]]:
        return StudyError, (self.source, self.problems)  # it travels from a worker process to the command

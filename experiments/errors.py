"""What can be wrong with what a user gives, as one small tree.

InputError                  the command ends with exit code 2 and this message, never a traceback
├── StudyError              a study file, with all its problems at once
├── DirectoryError          a study folder that cannot be used: missing, another study's, in use
├── RunnerError             a runner that cannot be had: Ray not installed, a cluster that does not answer or is gone
└── LedgerError             a ledger.sqlite that cannot be read: corrupt, not a ledger, from a newer version
    └── EmptyLedgerError    one that holds nothing yet, which `ablate run` fills
"""

from collections.abc import Sequence
from dataclasses import dataclass


class InputError(Exception):
    """Something a user can mend. The message says what, where, what is accepted, and how to mend it."""


class DirectoryError(InputError):
    """A study folder that cannot be used."""


class RunnerError(InputError):
    """A runner that cannot be had, or is gone."""


class LedgerError(InputError):
    """A ledger file that cannot be read or written."""


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

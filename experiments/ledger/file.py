"""The file of a ledger: opened, brought to the present version, and told apart from what is none."""

import contextlib
import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from experiments.errors import EmptyLedgerError, LedgerError

from .schema import MIGRATIONS, VERSION

APPLICATION_ID = 0x41424C54  # "ABLT", so that `file` and we can tell a ledger from another SQLite file
BUSY_SECONDS = 30  # how long to wait for a reader that holds the file


class LedgerFile:
    """An open file; what is read from it and written to it stands in reader.py and ledger.py.

    Raises:
        LedgerError: from every method, with the file's name, when the file is corrupt, full, locked or not a ledger.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._writable = writable
        if not writable and not path.is_file():
            raise LedgerError(f"{path}: there is no ledger; `ablate run` makes one")
        with self._errors_named():
            mode = "rwc" if writable else "ro"
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        with contextlib.ExitStack() as undo:
            undo.callback(self._db.close)
            with self._errors_named():
                self._db.row_factory = sqlite3.Row
                self._prepare(writable=writable)
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writable:
            with contextlib.suppress(sqlite3.DatabaseError):  # a reader is looking: the file stays as it is, and valid
                self._db.execute("PRAGMA busy_timeout = 0")
                self._db.execute("PRAGMA journal_mode = DELETE")  # at rest, one plain file, readable anywhere
        self._db.close()

    def _prepare(self, *, writable: bool) -> None:
        self._version = version = int(self._scalar("PRAGMA user_version"))
        is_empty = self._scalar("SELECT count(*) FROM sqlite_master") == 0
        if not is_empty and self._scalar("PRAGMA application_id") != APPLICATION_ID:
            raise LedgerError(f"{self.path}: is an SQLite file, but not a ledger of this suite")
        if version > VERSION:
            raise LedgerError(
                f"{self.path}: has version {version}, from a newer release of the suite; this one reads up to "
                f"{VERSION}. Install the newer release to use it"
            )
        if not writable:
            if is_empty:
                raise EmptyLedgerError(f"{self.path}: is empty; `ablate run` fills it")
            return
        self._db.execute("PRAGMA journal_mode = WAL")  # readers never block the writer
        self._db.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
            with self._transaction():
                for statement in filter(None, map(str.strip, migration.split(";\n"))):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")
            self._version = number

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors_named():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:  # an interrupt between the two leaves no transaction open
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _not_waiting_for_the_disk(self) -> Iterator[None]:
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{self.path}: {_explained(error)}") from error

    def _scalar(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        with self._errors_named():
            return self._db.execute(query, parameters).fetchone()[0]

    def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._errors_named():
            return self._db.execute(query, parameters).fetchall()

    def _values(self, query: str) -> Iterator[Any]:
        with self._errors_named():
            cursor = self._db.cursor()
            cursor.row_factory = None  # plain tuples, in three quarters of the time
            for row in cursor.execute(f"{query} WHERE planned"):
                yield row if row[-1] is not None else (*row[:-1], math.nan)


def _explained(error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return f"is damaged or not a ledger ({text}); restore it from a copy, or move it away and run the study again"
    if "full" in text or "disk I/O" in text:
        return f"cannot be written ({text}); free some space, then run the command again: what was recorded is kept"
    if "locked" in text:
        return f"is locked by another process ({text}); wait for it or stop it, then run the command again"
    if "unable to open" in text:
        return f"cannot be opened ({text}); check that the folder exists and may be written"
    return f"cannot be used ({text})"

"""SQLite file of a ledger: opened, migrated to the current version, and rejected if it is no ledger."""

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

APPLICATION_ID = 0x41424C54  # "ABLT": identifies a ledger among SQLite files, also for the command `file`
BUSY_SECONDS = 30  # to wait for another process that has locked the file


class LedgerFile:
    """Open ledger file. The queries are in reader.py, the changes in ledger.py.

    Raises:
        LedgerError: from every method, with the file's path, when the file is damaged, full, locked or not a ledger.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._writable = writable
        if not writable and not path.is_file():
            raise LedgerError(f"{path}: there is no ledger; `ablate run` makes one")
        with self._translate_errors():
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
            with self._translate_errors():
                self._db.row_factory = sqlite3.Row
                self._prepare(writable=writable)
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writable:
            with contextlib.suppress(sqlite3.DatabaseError):  # a reader has it open: it stays in WAL mode, and valid
                self._db.execute("PRAGMA busy_timeout = 0")
                self._db.execute("PRAGMA journal_mode = DELETE")  # one plain file, without -wal and -shm
        self._db.close()

    def _prepare(self, *, writable: bool) -> None:
        self._version = version = int(self._scalar("PRAGMA user_version"))
        is_empty = self._scalar("SELECT count(*) FROM sqlite_master") == 0
        if not is_empty and self._scalar("PRAGMA application_id") != APPLICATION_ID:
            raise LedgerError(
                f"{self.path}: is an SQLite file, but not a ledger of this suite; move it away, or give another folder"
            )
        if version > VERSION:
            raise LedgerError(
                f"{self.path}: has version {version}, from a newer release of the suite; this one reads up to "
                f"{VERSION}. Install the newer release"
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
        with self._translate_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:  # an interrupt, too, leaves no transaction open
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _without_fsync(self) -> Iterator[None]:
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{self.path}: {_explain(error)}") from error

    def _scalar(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        with self._translate_errors():
            return self._db.execute(query, parameters).fetchone()[0]

    def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._translate_errors():
            return self._db.execute(query, parameters).fetchall()

    def _values(self, query: str) -> Iterator[Any]:
        with self._translate_errors():
            cursor = self._db.cursor()
            cursor.row_factory = None  # plain tuples, which take three quarters of the time
            for row in cursor.execute(f"{query} WHERE planned"):
                yield row if row[-1] is not None else (*row[:-1], math.nan)


def _explain(error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "not a database" in text or "malformed" in text:
        return f"is damaged or not a ledger ({text}); restore it from a copy, or move it away and run the study again"
    if "full" in text or "disk I/O" in text:
        return f"cannot be written ({text}); free disk space, then run the command again: recorded results are kept"
    if "locked" in text:
        return f"is locked by another process ({text}); wait for it or stop it, then run the command again"
    if "unable to open" in text:
        return f"cannot be opened ({text}); check that its folder exists and is writable"
    return f"cannot be used ({text})"

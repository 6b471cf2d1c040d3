"""The ledger: one SQLite file that holds a study, its trials and everything they measured. The only SQL of the suite.

One process writes at a time, the one that holds the folder's lock; any number may read. The results of trials that were
trained together are one transaction, on disk before `record` returns. Nothing is ever deleted: trials that left the
study's plan stay, marked as not planned; every attempt at a trial stays, with its traceback where it failed.

The tables are in schema.py.
"""

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .errors import EmptyLedgerError, LedgerError
from .identity import config_id
from .schema import FIRST_WITH_FINGERPRINTS, FIRST_WITH_NOTES, FIRST_WITH_TESTED, MIGRATIONS, VERSION
from .trial import FAILED, FINISHED, PENDING, RUNNING, STATUSES, Correct, Result, Trial

APPLICATION_ID = 0x41424C54  # "ABLT", so that `file` and we can tell a ledger from another SQLite file
BUSY_SECONDS = 30  # how long to wait for a reader that holds the file


class Ledger:
    """An open ledger. Use it in a `with` block.

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

    # ---- writing ---------------------------------------------------------------------------------------------------

    def plan(
        self,
        name: str,
        content: Mapping[str, Any],
        trials: Sequence[Trial],
        notes: Sequence[str] = (),
        fingerprints: Mapping[str, str] | None = None,
        *,
        keep_running: bool = False,
    ) -> int:
        """Make these trials the study's plan, and return how many of them are new.

        Trials that are there keep their results; trials that left the plan stay, marked as not planned. A trial that
        was running when an earlier command was killed is pending again, unless `keep_running` says that others may be
        training it. The notes on the data replace earlier ones; fingerprints of other data stay.
        """
        positions: dict[str, int] = {}
        with self._transaction():
            self._db.execute(
                "INSERT INTO study (id, name, content, updated_at, notes) VALUES (1, ?, ?, ?, ?) ON CONFLICT (id) "
                "DO UPDATE SET name = excluded.name, content = excluded.content, updated_at = excluded.updated_at, "
                "notes = excluded.notes",
                (name, json.dumps(content), _now(), json.dumps(list(notes))),
            )
            self._db.executemany("INSERT OR REPLACE INTO fingerprints VALUES (?, ?)", (fingerprints or {}).items())
            before = self._scalar("SELECT count(*) FROM trials")
            self._db.execute("UPDATE cells SET position = NULL")
            self._db.execute("UPDATE trials SET planned = 0")
            if not keep_running:
                self._db.execute("UPDATE trials SET status = ? WHERE status = ?", (PENDING, RUNNING))
            cell_ids: dict[int, str] = {}  # by identity of the config, which the seeds of a cell share
            for trial in trials:
                config = cell_ids.get(id(trial.config))
                if config is None:
                    config = cell_ids[id(trial.config)] = config_id(trial.config)
                    positions.setdefault(config, len(positions))
                    self._db.execute(
                        "INSERT INTO cells (config_id, levels, config, position) VALUES (?, ?, ?, ?) ON CONFLICT "
                        "(config_id) DO UPDATE SET levels = excluded.levels, config = excluded.config, "
                        "position = excluded.position",
                        (config, json.dumps(dict(trial.levels)), json.dumps(trial.config), positions[config]),
                    )
                self._db.execute(
                    "INSERT INTO trials (trial_id, cell, seed, planned, status) "
                    "VALUES (?, (SELECT id FROM cells WHERE config_id = ?), ?, 1, ?) "
                    "ON CONFLICT (trial_id) DO UPDATE SET planned = 1",
                    (trial.trial_id, config, trial.seed, PENDING),
                )
            return int(self._scalar("SELECT count(*) FROM trials")) - int(before)

    def start(self, trial_id: str, versions: str) -> int:
        """Note that a trial is being trained, as a new attempt with the versions of what trains it; its number.

        Unlike a result it may be lost when the machine loses power, so that no disk is waited for.
        """
        with self._not_waiting_for_the_disk(), self._transaction():
            self._db.execute("UPDATE trials SET status = ? WHERE trial_id = ?", (RUNNING, trial_id))
            self._db.execute(
                "INSERT INTO attempts (trial, number, started_at, versions) SELECT t.id, "
                "1 + (SELECT count(*) FROM attempts a WHERE a.trial = t.id), ?, ? FROM trials t WHERE t.trial_id = ?",
                (_now(), versions, trial_id),
            )
            newest = "SELECT count(*) FROM attempts WHERE trial = (SELECT id FROM trials WHERE trial_id = ?)"
            return int(self._db.execute(newest, (trial_id,)).fetchone()[0])

    def record(self, results: Mapping[str, Result]) -> None:
        """Write the results of trials that were trained together, or of one, by id; when this returns all are on disk.

        All or none: a killed command leaves no group half recorded, so the same group is trained when it continues.

        Raises:
            ValueError: when a trial is unknown or already has a result: nothing is counted twice.
        """
        with self._transaction():
            for trial_id, result in results.items():
                self._record(trial_id, result)

    def record_attempt(self, trial_id: str, attempt: int, result: Result) -> bool:
        """Write the result of one attempt at a trial that several processes may be training at the same time.

        The first result stays. Where there is one already, nothing but the end of this attempt is written.

        Arguments:
            trial_id: the trial.
            attempt: what `start` returned.
            result: of this attempt.

        Returns:
            Whether this result is the trial's.
        """
        with self._transaction():
            row = self._db.execute("SELECT id, status FROM trials WHERE trial_id = ?", (trial_id,)).fetchone()
            is_first = row["status"] in {PENDING, RUNNING}
            if is_first:
                self._write(row["id"], result)
            status = result.status if is_first else f"{result.status}, after another attempt"
            self._end_attempt(row["id"], attempt, status, result.error)
        return is_first

    def retry(self) -> int:
        """Put the planned failed trials back to pending, and return how many; their tracebacks stay as attempts."""
        failed = "SELECT id FROM trials WHERE planned AND status = ?"
        with self._transaction():
            for table in ("metrics", "epochs", "tested"):
                self._db.execute(f"DELETE FROM {table} WHERE trial IN ({failed})", (FAILED,))  # noqa: S608
            changed = self._db.execute(
                "UPDATE trials SET status = ?, error = NULL, backend = NULL, device = NULL, seconds = NULL, "
                "num_parameters = NULL, diverged_epoch = NULL WHERE planned AND status = ?",
                (PENDING, FAILED),
            )
            return changed.rowcount

    def separate(self, reasons: Mapping[str, str]) -> None:
        """Note why trials are trained alone though fusing was asked for; those that were running are pending again.

        Arguments:
            reasons: by trial id.
        """
        with self._transaction():
            for trial_id, reason in reasons.items():
                self._put_back(trial_id, "not fused", reason)
                self._db.execute(
                    "UPDATE trials SET why_alone = ? WHERE trial_id = ? AND status = ?", (reason, trial_id, PENDING)
                )

    def again(self, trial_ids: Sequence[str], status: str, reason: str) -> None:
        """Put running trials back to pending; the attempts end with this status, such as "lost", and this reason."""
        with self._transaction():
            for trial_id in trial_ids:
                self._put_back(trial_id, status, reason)

    def _put_back(self, trial_id: str, status: str, reason: str) -> None:
        """End the attempt at a trial, which is pending then, where it is running."""
        self._db.execute(
            "UPDATE attempts SET ended_at = ?, status = ?, error = ? WHERE ended_at IS NULL AND "
            "trial = (SELECT id FROM trials WHERE trial_id = ? AND status = ?) AND number = "
            "(SELECT max(number) FROM attempts a WHERE a.trial = attempts.trial)",
            (_now(), status, reason, trial_id, RUNNING),
        )
        self._db.execute("UPDATE trials SET status = ? WHERE trial_id = ? AND status = ?", (PENDING, trial_id, RUNNING))

    def release(self, trial_id: str | None = None) -> None:
        """Put running trials, or this one, back to pending: what a command does that is interrupted."""
        with self._transaction():
            self._db.execute(
                "UPDATE trials SET status = ? WHERE status = ? AND ? IN (trial_id, '')",
                (PENDING, RUNNING, trial_id or ""),
            )

    # ---- reading ---------------------------------------------------------------------------------------------------

    def study_name(self) -> str | None:
        """The name of the study this ledger belongs to; None when nothing was ever planned."""
        with self._errors_named():
            row = self._db.execute("SELECT name FROM study").fetchone()
        return None if row is None else str(row["name"])

    def study_content(self) -> dict[str, Any]:
        """The study as it was planned last, as plain data for `parse_study`."""
        with self._errors_named():
            row = self._db.execute("SELECT content FROM study").fetchone()
        if row is None:
            raise LedgerError(f"{self.path}: holds no study yet; `ablate run` plans one")
        content: dict[str, Any] = json.loads(row["content"])
        return content

    def notes(self) -> list[str]:
        """What the data modules said of their data when the study was planned last; nothing in an older ledger."""
        if self._version < FIRST_WITH_NOTES:
            return []
        with self._errors_named():
            row = self._db.execute("SELECT notes FROM study").fetchone()
        return [] if row is None else [str(note) for note in json.loads(row["notes"])]

    def fingerprints(self) -> dict[str, str]:
        """What the data of all plans came from, and a hash of its content; nothing in an older ledger."""
        if self._version < FIRST_WITH_FINGERPRINTS:
            return {}
        with self._errors_named():
            return {row["source"]: row["hash"] for row in self._db.execute("SELECT source, hash FROM fingerprints")}

    def pending(self) -> list[Trial]:
        """The planned trials that still have to be trained, seed by seed, so that early results are complete pairs."""
        with self._errors_named():
            rows = self._db.execute(
                "SELECT trial_id, seed, levels, config, cells.id AS cell FROM trials JOIN cells ON cells.id = cell "
                "WHERE planned AND status IN (?, ?) ORDER BY seed, position",
                (PENDING, RUNNING),
            ).fetchall()
        configs = {row["cell"]: json.loads(row["config"]) for row in rows}
        return [
            Trial(
                trial_id=row["trial_id"],
                levels=json.loads(row["levels"]),
                seed=row["seed"],
                config=configs[row["cell"]],
            )
            for row in rows
        ]

    def expected_seconds(self) -> dict[str, float]:
        """Trial id -> the mean seconds of its cell's finished trials; for planned trials that have not ended."""
        with self._errors_named():
            rows = self._db.execute(
                "SELECT trial_id, mean FROM trials JOIN (SELECT cell AS of, avg(seconds) AS mean FROM trials "
                "WHERE status = ? GROUP BY cell) ON cell = of WHERE planned AND status IN (?, ?)",
                (FINISHED, PENDING, RUNNING),
            ).fetchall()
        return {trial_id: float(mean) for trial_id, mean in rows}

    def counts(self) -> dict[str, int]:
        """Planned trials by status; every status is a key."""
        with self._errors_named():
            rows = self._db.execute("SELECT status, count(*) FROM trials WHERE planned GROUP BY status").fetchall()
        found = {status: int(count) for status, count in rows}
        return {status: found.get(status, 0) for status in STATUSES}

    def has_results(self) -> bool:
        """Whether any trial has ended, planned or not."""
        return bool(self._scalar("SELECT EXISTS (SELECT 1 FROM trials WHERE status NOT IN ('pending', 'running'))"))

    def cells(self) -> list[tuple[dict[str, str], dict[str, int]]]:
        """(levels, planned trials by status) of every cell, in the order of the plan; every status is a key.

        Counted by SQLite: reading 100,000 trials takes a second, this 0.03.
        """
        with self._errors_named():
            rows = self._db.execute(
                "SELECT cells.id, levels, status, number FROM cells JOIN "
                "(SELECT cell, status, count(*) AS number FROM trials WHERE planned GROUP BY cell, status) "
                "ON cell = cells.id ORDER BY position"
            ).fetchall()
        found: dict[int, tuple[dict[str, str], dict[str, int]]] = {}
        for cell, levels, status, number in rows:
            if cell not in found:
                found[cell] = json.loads(levels), dict.fromkeys(STATUSES, 0)
            found[cell][1][status] = number
        return list(found.values())

    def planned_ids(self) -> set[str]:
        """The ids of the planned trials."""
        with self._errors_named():
            return {row["trial_id"] for row in self._db.execute("SELECT trial_id FROM trials WHERE planned")}

    def num_unplanned(self) -> int:
        """How many trials of earlier plans are kept in the file without being part of the present one."""
        return int(self._scalar("SELECT count(*) FROM trials WHERE NOT planned"))

    def trials(self) -> list[dict[str, Any]]:
        """One dict a planned trial, cell by cell in the order of the plan and then by seed.

        Keys: trial_id, levels (factor -> level), seed, status, backend, device, seconds, num_parameters,
        diverged_epoch, error, why_alone, attempts.
        """
        with self._errors_named():
            rows = self._db.execute(
                "SELECT trial_id, levels, seed, status, backend, device, seconds, num_parameters, diverged_epoch, "
                "error, why_alone, (SELECT count(*) FROM attempts WHERE trial = trials.id) AS attempts "
                "FROM trials JOIN cells ON cells.id = cell WHERE planned ORDER BY position, seed"
            ).fetchall()
        return [{**dict(row), "levels": json.loads(row["levels"])} for row in rows]

    def metrics(self) -> Iterator[tuple[str, str, float]]:
        """(trial_id, metric, final value) of every planned trial; NaN where the value was not a number."""
        yield from self._values("SELECT trial_id, name, value FROM metrics JOIN trials ON trials.id = trial")

    def epochs(self) -> Iterator[tuple[str, int, str, float]]:
        """(trial_id, epoch from 0, metric, value) of every planned trial."""
        yield from self._values("SELECT trial_id, epoch, name, value FROM epochs JOIN trials ON trials.id = trial")

    def correct(self) -> Iterator[tuple[str, Correct]]:
        """(trial_id, which test examples were right) of the planned trials that said so; none in an older ledger."""
        if self._version < FIRST_WITH_TESTED:
            return
        columns = "trial_id, num_examples, bits, targets, examples"
        with self._errors_named():
            for row in self._db.execute(f"SELECT {columns} FROM tested JOIN trials ON trials.id = trial WHERE planned"):  # noqa: S608
                yield str(row["trial_id"]), _correct(row)

    def trial(self, prefix: str) -> dict[str, Any]:
        """Everything about the one trial whose id begins with `prefix`.

        The keys of `trials()`, and config, metrics (name -> value), epochs ([{name: value}], an epoch's place is its
        number), correct (a `Correct`, None where it is not known) and history (one dict an attempt: number, started_at,
        ended_at, status, error, versions).

        Raises:
            LedgerError: when no trial or more than one begins so.
        """
        with self._errors_named():
            rows = self._db.execute(
                "SELECT trials.*, levels, config FROM trials JOIN cells ON cells.id = cell "
                "WHERE substr(trial_id, 1, length(?)) = ? LIMIT 3",
                (prefix, prefix),
            ).fetchall()
            if len(rows) != 1 or not prefix:
                found = "no trial" if not rows else "more than one trial"
                raise LedgerError(f"{self.path}: {found} has an id that begins with {prefix!r}; trials.csv lists them")
            row = dict(rows[0])
            key = (row["id"],)
            metrics = self._db.execute("SELECT name, value FROM metrics WHERE trial = ? ORDER BY name", key).fetchall()
            epochs = self._db.execute(
                "SELECT epoch, name, value FROM epochs WHERE trial = ? ORDER BY epoch, name", key
            ).fetchall()
            history = self._db.execute(
                "SELECT number, started_at, ended_at, status, error, versions FROM attempts WHERE trial = ?", key
            ).fetchall()
            tested = None
            if self._version >= FIRST_WITH_TESTED:
                tested = self._db.execute("SELECT * FROM tested WHERE trial = ?", key).fetchone()
        by_epoch: dict[int, dict[str, float]] = {}
        for epoch, name, value in epochs:
            by_epoch.setdefault(epoch, {})[name] = math.nan if value is None else value
        return {
            **{name: value for name, value in row.items() if name not in {"id", "cell"}},
            "levels": json.loads(row["levels"]),
            "config": json.loads(row["config"]),
            "metrics": {name: math.nan if value is None else value for name, value in metrics},
            "epochs": [by_epoch.get(epoch, {}) for epoch in range(max(by_epoch, default=-1) + 1)],
            "correct": None if tested is None else _correct(tested),
            "history": [dict(attempt) for attempt in history],
        }

    # ---- the file --------------------------------------------------------------------------------------------------

    def _record(self, trial_id: str, result: Result) -> None:
        row = self._db.execute("SELECT id, status FROM trials WHERE trial_id = ?", (trial_id,)).fetchone()
        if row is None or row["status"] not in {PENDING, RUNNING}:
            found = "unknown" if row is None else row["status"]
            raise ValueError(f"{self.path}: trial {trial_id} is {found}; only a running one takes a result")
        newest = "SELECT coalesce(max(number), 0) FROM attempts WHERE trial = ?"
        attempt = int(self._db.execute(newest, (row["id"],)).fetchone()[0])
        self._write(row["id"], result)
        self._end_attempt(row["id"], attempt, result.status, result.error)

    def _end_attempt(self, trial: int, attempt: int, status: str, error: str | None) -> None:
        self._db.execute(
            "UPDATE attempts SET ended_at = ?, status = ?, error = ? "
            "WHERE trial = ? AND number = ? AND ended_at IS NULL",
            (_now(), status, error, trial, attempt),
        )

    def _write(self, trial: int, result: Result) -> None:
        self._db.execute(
            "UPDATE trials SET status = ?, backend = ?, device = ?, seconds = ?, num_parameters = ?, "
            "diverged_epoch = ?, error = ? WHERE id = ?",
            (
                result.status,
                result.backend,
                result.device,
                result.seconds,
                result.num_parameters,
                result.diverged_epoch,
                result.error,
                trial,
            ),
        )
        self._db.executemany(
            "INSERT INTO metrics VALUES (?, ?, ?)",
            [(trial, name, _number(value)) for name, value in result.metrics.items()],
        )
        self._db.executemany(
            "INSERT INTO epochs VALUES (?, ?, ?, ?)",
            [
                (trial, epoch, name, _number(value))
                for epoch, metrics in enumerate(result.epochs)
                for name, value in metrics.items()
            ],
        )
        if (correct := result.correct) is not None:
            self._db.execute(
                "INSERT INTO tested (trial, num_examples, bits, targets, examples) VALUES (?, ?, ?, ?, ?)",
                (trial, correct.num_examples, correct.bits, correct.targets, correct.examples),
            )

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

    def _scalar(self, query: str) -> Any:
        with self._errors_named():
            return self._db.execute(query).fetchone()[0]

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


def _correct(row: sqlite3.Row) -> Correct:
    return Correct(num_examples=row["num_examples"], bits=row["bits"], targets=row["targets"], examples=row["examples"])


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

"""Ledger of one study, in SQLite: the study, its trials and all their results.

One process writes at a time, the one that holds the folder's lock; any number may read. The results of a fused group
are one transaction, on disk when `record` returns. Nothing is deleted: a trial that is no longer in the study's plan
stays, marked as not planned, and each attempt at a trial stays, with the traceback of its error.

The tables are in schema.py, the queries in reader.py, opening and closing in file.py.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from experiments.text import escape_surrogates
from experiments.trials.trial import Result, Trial, TrialStatus

from .reader import LedgerReader


class Ledger(LedgerReader):
    """Open ledger: `with Ledger(path, writable=...) as ledger`.

    Raises:
        LedgerError: from every method, with the file's path, when the file is damaged, full, locked or not a ledger.
    """

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
        """Replace the study's plan by these trials, and return the number of new ones.

        Known trials keep their results. Trials that are no longer planned stay, marked so. Running trials become
        pending, as after a killed command, unless `keep_running`, for when other processes may be training them. Notes
        on the data replace earlier notes; fingerprints of other data stay.
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
                self._db.execute(
                    "UPDATE trials SET status = ? WHERE status = ?", (TrialStatus.PENDING, TrialStatus.RUNNING)
                )
            for trial in trials:
                if trial.config_id not in positions:
                    position = positions[trial.config_id] = len(positions)
                    self._db.execute(
                        "INSERT INTO cells (config_id, levels, config, position) VALUES (?, ?, ?, ?) ON CONFLICT "
                        "(config_id) DO UPDATE SET levels = excluded.levels, config = excluded.config, "
                        "position = excluded.position",
                        (trial.config_id, json.dumps(dict(trial.levels)), json.dumps(trial.config), position),
                    )
                self._db.execute(
                    "INSERT INTO trials (trial_id, cell, seed, planned, status) "
                    "VALUES (?, (SELECT id FROM cells WHERE config_id = ?), ?, 1, ?) "
                    "ON CONFLICT (trial_id) DO UPDATE SET planned = 1",
                    (trial.trial_id, trial.config_id, trial.seed, TrialStatus.PENDING),
                )
            return int(self._scalar("SELECT count(*) FROM trials")) - int(before)

    def start(self, trial_id: str, versions: str) -> int:
        """Mark a trial as running and return the number of the new attempt, from 1.

        Unlike a result, this may be lost in a power failure: it does not wait for the disk.

        Args:
            trial_id: the trial.
            versions: of the packages that train it, as JSON.
        """
        with self._without_fsync(), self._transaction():
            self._db.execute("UPDATE trials SET status = ? WHERE trial_id = ?", (TrialStatus.RUNNING, trial_id))
            self._db.execute(
                "INSERT INTO attempts (trial, number, started_at, versions) SELECT t.id, "
                "1 + (SELECT count(*) FROM attempts a WHERE a.trial = t.id), ?, ? FROM trials t WHERE t.trial_id = ?",
                (_now(), versions, trial_id),
            )
            newest = "SELECT count(*) FROM attempts WHERE trial = (SELECT id FROM trials WHERE trial_id = ?)"
            return int(self._scalar(newest, (trial_id,)))

    def record(self, results: Mapping[str, Result]) -> None:
        """Write the results of a group, by trial id, in one transaction that is on disk when this returns.

        A killed command leaves no group half recorded, so it trains the same group when it continues.

        Raises:
            ValueError: when a trial is unknown or has a result: nothing is counted twice.
        """
        with self._transaction():
            for trial_id, result in results.items():
                self._record(trial_id, result)

    def record_attempt(self, trial_id: str, attempt: int, result: Result) -> bool:
        """Write the result of one attempt at a trial that several processes may be training.

        The first result counts. After it, only the end of this attempt is written.

        Args:
            trial_id: the trial.
            attempt: number that `start` returned.
            result: of this attempt.

        Returns:
            True when this result became the trial's.
        """
        with self._transaction():
            row = self._db.execute("SELECT id, status FROM trials WHERE trial_id = ?", (trial_id,)).fetchone()
            is_first = not TrialStatus(row["status"]).has_ended
            if is_first:
                self._write(row["id"], result)
            status = result.status if is_first else f"{result.status}, after another attempt"
            self._end_attempt(row["id"], attempt, status, result.error)
        return is_first

    def retry(self) -> int:
        """Make the planned failed trials pending, and return their number; attempts keep the tracebacks."""
        failed = "SELECT id FROM trials WHERE planned AND status = ?"
        with self._transaction():
            for table in ("metrics", "epochs", "tested"):
                self._db.execute(f"DELETE FROM {table} WHERE trial IN ({failed})", (TrialStatus.FAILED,))  # noqa: S608
            changed = self._db.execute(
                "UPDATE trials SET status = ?, error = NULL, backend = NULL, device = NULL, seconds = NULL, "
                "num_parameters = NULL, diverged_epoch = NULL WHERE planned AND status = ?",
                (TrialStatus.PENDING, TrialStatus.FAILED),
            )
            return changed.rowcount

    def record_unfused(self, reasons: Mapping[str, str]) -> None:
        """Record why trials are not fused although fusing was requested. Running ones become pending.

        Args:
            reasons: by trial id.
        """
        with self._transaction():
            for trial_id, reason in reasons.items():
                self._requeue(trial_id, "not fused", reason)
                self._db.execute(
                    "UPDATE trials SET why_alone = ? WHERE trial_id = ? AND status = ?",
                    (reason, trial_id, TrialStatus.PENDING),
                )

    def requeue(self, trial_ids: Sequence[str], status: str, reason: str) -> None:
        """Make running trials pending and end their attempts with this status, such as "lost", and this reason."""
        with self._transaction():
            for trial_id in trial_ids:
                self._requeue(trial_id, status, reason)

    def _requeue(self, trial_id: str, status: str, reason: str) -> None:
        """End the attempt at a running trial and make it pending; leave a trial that is not running unchanged."""
        self._db.execute(
            "UPDATE attempts SET ended_at = ?, status = ?, error = ? WHERE ended_at IS NULL AND "
            "trial = (SELECT id FROM trials WHERE trial_id = ? AND status = ?) AND number = "
            "(SELECT max(number) FROM attempts a WHERE a.trial = attempts.trial)",
            (_now(), status, reason, trial_id, TrialStatus.RUNNING),
        )
        self._db.execute(
            "UPDATE trials SET status = ? WHERE trial_id = ? AND status = ?",
            (TrialStatus.PENDING, trial_id, TrialStatus.RUNNING),
        )

    def release(self, trial_id: str | None = None, attempt: int | None = None) -> None:
        """Make running trials pending, as an interrupted command does.

        Args:
            trial_id: only this trial.
            attempt: only if no later attempt at the trial has begun.
        """
        with self._transaction():
            self._db.execute(
                "UPDATE trials SET status = ? WHERE status = ? AND ? IN (trial_id, '') "
                "AND ? IN (0, (SELECT count(*) FROM attempts WHERE trial = trials.id))",
                (TrialStatus.PENDING, TrialStatus.RUNNING, trial_id or "", attempt or 0),
            )

    def _record(self, trial_id: str, result: Result) -> None:
        row = self._db.execute("SELECT id, status FROM trials WHERE trial_id = ?", (trial_id,)).fetchone()
        if row is None or TrialStatus(row["status"]).has_ended:
            found = "unknown" if row is None else row["status"]
            raise ValueError(f"{self.path}: trial {trial_id} is {found}; only a running one takes a result")
        newest = "SELECT coalesce(max(number), 0) FROM attempts WHERE trial = ?"
        self._write(row["id"], result)
        self._end_attempt(row["id"], int(self._scalar(newest, (row["id"],))), result.status, result.error)

    def _end_attempt(self, trial: int, attempt: int, status: str, error: str | None) -> None:
        self._db.execute(
            "UPDATE attempts SET ended_at = ?, status = ?, error = ? "
            "WHERE trial = ? AND number = ? AND ended_at IS NULL",
            (_now(), status, None if error is None else escape_surrogates(error), trial, attempt),
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
                None if result.error is None else escape_surrogates(result.error),
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
        if names := list(dict.fromkeys(name for metrics in result.epochs for name in metrics)):
            self._db.execute(  # the longest list: a diverged trial may lack some
                "INSERT INTO orders SELECT cell, ? FROM trials WHERE id = ? ON CONFLICT (cell) DO UPDATE SET "
                "names = excluded.names WHERE length(excluded.names) > length(orders.names)",
                (json.dumps(names), trial),
            )
        if (correct := result.correct) is not None:
            self._db.execute(
                "INSERT INTO tested (trial, num_examples, bits, targets, examples) VALUES (?, ?, ?, ?, ?)",
                (trial, correct.num_examples, correct.bits, correct.targets, correct.examples),
            )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

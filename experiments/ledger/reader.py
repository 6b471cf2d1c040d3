"""What a ledger holds, read: the study, its trials, what they measured. Half of the only SQL of the suite."""

import json
import math
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.errors import DirectoryError, LedgerError
from experiments.trials.trial import Correct, Trial, TrialStatus

from .file import LedgerFile
from .schema import FIRST_WITH_FINGERPRINTS, FIRST_WITH_NOTES, FIRST_WITH_ORDERS, FIRST_WITH_TESTED

_UNFINISHED = tuple(status for status in TrialStatus if not status.is_finished)


class LedgerReader(LedgerFile):
    """The readings of a `Ledger`, each a query."""

    def study_name(self) -> str | None:
        """The name of the study this ledger belongs to; None when nothing was ever planned."""
        return next((str(row["name"]) for row in self._rows("SELECT name FROM study")), None)

    def study_content(self) -> dict[str, Any]:
        """The study as it was planned last, as plain data for `parse_study`."""
        rows = self._rows("SELECT content FROM study")
        if not rows:
            raise LedgerError(f"{self.path}: holds no study yet; `ablate run` plans one")
        content: dict[str, Any] = json.loads(rows[0]["content"])
        return content

    def notes(self) -> list[str]:
        """What the data modules said of their data when the study was planned last; nothing in an older ledger."""
        if self._version < FIRST_WITH_NOTES:
            return []
        return [str(note) for row in self._rows("SELECT notes FROM study") for note in json.loads(row["notes"])]

    def fingerprints(self) -> dict[str, str]:
        """What the data of all plans came from, and a hash of its content; nothing in an older ledger."""
        if self._version < FIRST_WITH_FINGERPRINTS:
            return {}
        return {row["source"]: row["hash"] for row in self._rows("SELECT source, hash FROM fingerprints")}

    def pending(self) -> list[Trial]:
        """The planned trials that still have to be trained, seed by seed, so that early results are complete pairs."""
        return self._planned("status IN (?, ?) ORDER BY seed, position", _UNFINISHED)

    def planned(self) -> list[Trial]:
        """The planned trials, cell by cell in the order of the plan and then by seed."""
        return self._planned("true ORDER BY position, seed")

    def _planned(self, condition_and_order: str, parameters: Sequence[Any] = ()) -> list[Trial]:
        rows = self._rows(
            "SELECT trial_id, config_id, levels, seed, config FROM trials JOIN cells ON cells.id = cell "  # noqa: S608
            f"WHERE planned AND {condition_and_order}",
            parameters,
        )
        texts = {row["config_id"]: row["config"] for row in rows}  # once for each cell
        configs = {config_id: json.loads(text) for config_id, text in texts.items()}
        return [
            Trial(**{**dict(row), "levels": json.loads(row["levels"]), "config": configs[row["config_id"]]})
            for row in rows
        ]

    def expected_seconds(self) -> dict[str, float]:
        """Trial id -> the mean seconds of its cell's finished trials; for planned trials that have not ended."""
        rows = self._rows(
            "SELECT trial_id, mean FROM trials JOIN (SELECT cell AS of, avg(seconds) AS mean FROM trials "
            "WHERE status = ? GROUP BY cell) ON cell = of WHERE planned AND status IN (?, ?)",
            (TrialStatus.FINISHED, *_UNFINISHED),
        )
        return {trial_id: float(mean) for trial_id, mean in rows}

    def counts(self) -> dict[TrialStatus, int]:
        """Planned trials by status; every status is a key."""
        rows = self._rows("SELECT status, count(*) FROM trials WHERE planned GROUP BY status")
        return dict.fromkeys(TrialStatus, 0) | {TrialStatus(status): int(count) for status, count in rows}

    def has_results(self) -> bool:
        """Whether any trial has ended, planned or not."""
        query = "SELECT EXISTS (SELECT 1 FROM trials WHERE status NOT IN (?, ?))"
        return bool(self._scalar(query, _UNFINISHED))

    def cells(self) -> list[tuple[dict[str, str], dict[TrialStatus, int]]]:
        """(levels, planned trials by status) of every cell, in the order of the plan; every status is a key.

        Counted by SQLite: reading 100,000 trials takes a second, this 0.03.
        """
        rows = self._rows(
            "SELECT cells.id, levels, status, number FROM cells JOIN "
            "(SELECT cell, status, count(*) AS number FROM trials WHERE planned GROUP BY cell, status) "
            "ON cell = cells.id ORDER BY position"
        )
        found: dict[int, tuple[dict[str, str], dict[TrialStatus, int]]] = {}
        for cell, levels, status, number in rows:
            if cell not in found:
                found[cell] = json.loads(levels), dict.fromkeys(TrialStatus, 0)
            found[cell][1][TrialStatus(status)] = number
        return list(found.values())

    def planned_ids(self) -> set[str]:
        """The ids of the planned trials."""
        return {row["trial_id"] for row in self._rows("SELECT trial_id FROM trials WHERE planned")}

    def unplanned_ids(self) -> set[str]:
        """The trials of earlier plans."""
        return {row["trial_id"] for row in self._rows("SELECT trial_id FROM trials WHERE NOT planned")}

    def num_unplanned(self) -> int:
        """How many trials of earlier plans are kept in the file without being part of the present one."""
        return int(self._scalar("SELECT count(*) FROM trials WHERE NOT planned"))

    def check_study(self, name: str) -> None:
        """Raise DirectoryError when the ledger holds another study than the one of this name."""
        found = self.study_name()
        if found is not None and found != name:
            raise DirectoryError(
                f"{self.path.parent}: holds study {found!r}, not {name!r}; give another folder with --out"
            )

    def trials(self) -> list[dict[str, Any]]:
        """One dict a planned trial, cell by cell in the order of the plan and then by seed.

        Keys: trial_id, levels (factor -> level), seed, status, backend, device, seconds, num_parameters,
        diverged_epoch, error, why_alone, attempts.
        """
        rows = self._rows(
            "SELECT trial_id, levels, seed, status, backend, device, seconds, num_parameters, diverged_epoch, "
            "error, why_alone, (SELECT count(*) FROM attempts WHERE trial = trials.id) AS attempts "
            "FROM trials JOIN cells ON cells.id = cell WHERE planned ORDER BY position, seed"
        )
        return [{**dict(row), "levels": json.loads(row["levels"])} for row in rows]

    def metrics(self) -> Iterator[tuple[str, str, float]]:
        """(trial_id, metric, final value) of every planned trial; NaN where the value was not a number."""
        yield from self._values("SELECT trial_id, name, value FROM metrics JOIN trials ON trials.id = trial")

    def epochs(self) -> Iterator[tuple[str, int, str, float]]:
        """(trial_id, epoch from 0, metric, value) of every planned trial."""
        yield from self._values("SELECT trial_id, epoch, name, value FROM epochs JOIN trials ON trials.id = trial")

    def metric_orders(self) -> list[list[str]]:
        """The metrics of an epoch in the order in which they were told, a list for each planned cell, without repeats.

        Nothing in an older ledger. The order tells how data flow through a network where metrics are of its layers.
        """
        if self._version < FIRST_WITH_ORDERS:
            return []
        rows = self._rows(
            "SELECT names FROM orders JOIN cells ON cells.id = cell WHERE position IS NOT NULL ORDER BY position"
        )
        return [[str(name) for name in json.loads(names)] for names in dict.fromkeys(row["names"] for row in rows)]

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
        rows = self._rows(
            "SELECT trials.*, levels, config FROM trials JOIN cells ON cells.id = cell "
            "WHERE trial_id >= ? AND trial_id < ? LIMIT 2",  # a range of the index
            (prefix, f"{prefix}{chr(sys.maxunicode)}"),
        )
        if len(rows) != 1 or not prefix:
            found = "no trial" if not rows else "more than one trial"
            raise LedgerError(f"{self.path}: {found} has an id that begins with {prefix!r}; trials.csv lists them")
        row, key = dict(rows[0]), (rows[0]["id"],)
        metrics = self._rows("SELECT name, value FROM metrics WHERE trial = ? ORDER BY name", key)
        epochs = self._rows("SELECT epoch, name, value FROM epochs WHERE trial = ? ORDER BY epoch, name", key)
        attempts = "SELECT number, started_at, ended_at, status, error, versions FROM attempts WHERE trial = ?"
        has_tested = self._version >= FIRST_WITH_TESTED
        tested = self._rows("SELECT * FROM tested WHERE trial = ?", key) if has_tested else []
        by_epoch: dict[int, dict[str, float]] = {}
        for epoch, name, value in epochs:
            by_epoch.setdefault(epoch, {})[name] = math.nan if value is None else value
        return {
            **{name: value for name, value in row.items() if name not in {"id", "cell"}},
            "levels": json.loads(row["levels"]),
            "config": json.loads(row["config"]),
            "metrics": {name: math.nan if value is None else value for name, value in metrics},
            "epochs": [by_epoch.get(epoch, {}) for epoch in range(max(by_epoch, default=-1) + 1)],
            "correct": _correct(tested[0]) if tested else None,
            "history": [dict(attempt) for attempt in self._rows(attempts, key)],
        }


def _correct(row: sqlite3.Row) -> Correct:
    return Correct(num_examples=row["num_examples"], bits=row["bits"], targets=row["targets"], examples=row["examples"])

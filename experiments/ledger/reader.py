"""Queries of a ledger: the study, its trials and their results."""

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

_UNFINISHED = tuple(status for status in TrialStatus if not status.has_ended)


class LedgerReader(LedgerFile):
    """Read-only half of `Ledger`: one query in each method."""

    def study_name(self) -> str | None:
        """Return the name of the study; None when no study was planned yet."""
        return next((str(row["name"]) for row in self._rows("SELECT name FROM study")), None)

    def study_content(self) -> dict[str, Any]:
        """Return the study as last planned, as plain data for `parse_study`."""
        rows = self._rows("SELECT content FROM study")
        if not rows:
            raise LedgerError(f"{self.path}: holds no study yet; `ablate run` plans one")
        content: dict[str, Any] = json.loads(rows[0]["content"])
        return content

    def notes(self) -> list[str]:
        """Return the notes on the data from the last plan; empty in an older ledger."""
        if self._version < FIRST_WITH_NOTES:
            return []
        return [str(note) for row in self._rows("SELECT notes FROM study") for note in json.loads(row["notes"])]

    def fingerprints(self) -> dict[str, str]:
        """Return source -> hash for the data of all plans; empty in an older ledger."""
        if self._version < FIRST_WITH_FINGERPRINTS:
            return {}
        return {row["source"]: row["hash"] for row in self._rows("SELECT source, hash FROM fingerprints")}

    def pending(self) -> list[Trial]:
        """Return the planned trials to be trained, seed by seed, so that early results are complete pairs."""
        return self._planned("status IN (?, ?) ORDER BY seed, position", _UNFINISHED)

    def planned(self) -> list[Trial]:
        """Return the planned trials, cell by cell in the order of the plan and then by seed."""
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
        """Return trial id -> mean seconds of the FINISHED trials of its cell, for planned trials to be trained."""
        rows = self._rows(
            "SELECT trial_id, mean FROM trials JOIN (SELECT cell AS of, avg(seconds) AS mean FROM trials "
            "WHERE status = ? GROUP BY cell) ON cell = of WHERE planned AND status IN (?, ?)",
            (TrialStatus.FINISHED, *_UNFINISHED),
        )
        return {trial_id: float(mean) for trial_id, mean in rows}

    def counts(self) -> dict[TrialStatus, int]:
        """Return the number of planned trials of each status; every status is a key."""
        rows = self._rows("SELECT status, count(*) FROM trials WHERE planned GROUP BY status")
        return dict.fromkeys(TrialStatus, 0) | {TrialStatus(status): int(count) for status, count in rows}

    def has_results(self) -> bool:
        """Return whether any trial needs no more training, planned or not."""
        query = "SELECT EXISTS (SELECT 1 FROM trials WHERE status NOT IN (?, ?))"
        return bool(self._scalar(query, _UNFINISHED))

    def cells(self) -> list[tuple[dict[str, str], dict[TrialStatus, int]]]:
        """Return (levels, number of planned trials of each status) for each cell, in the order of the plan.

        SQLite counts: for 100,000 trials this takes 0.03 s, and reading them 1 s.
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
        """Return the ids of the planned trials."""
        return {row["trial_id"] for row in self._rows("SELECT trial_id FROM trials WHERE planned")}

    def unplanned_ids(self) -> set[str]:
        """Return the ids of trials of earlier plans."""
        return {row["trial_id"] for row in self._rows("SELECT trial_id FROM trials WHERE NOT planned")}

    def num_unplanned(self) -> int:
        """Return the number of trials of earlier plans that the current plan lacks."""
        return int(self._scalar("SELECT count(*) FROM trials WHERE NOT planned"))

    def check_study(self, name: str) -> None:
        """Raise DirectoryError when the ledger holds a study of another name."""
        found = self.study_name()
        if found is not None and found != name:
            raise DirectoryError(
                f"{self.path.parent}: holds study {found!r}, not {name!r}; give another folder with --out"
            )

    def trials(self) -> list[dict[str, Any]]:
        """Return a dict for each planned trial, cell by cell in the order of the plan and then by seed.

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
        """Yield (trial_id, metric, final value) of the planned trials; NaN where the value was not a number."""
        yield from self._values("SELECT trial_id, name, value FROM metrics JOIN trials ON trials.id = trial")

    def epochs(self) -> Iterator[tuple[str, int, str, float]]:
        """Yield (trial_id, epoch from 0, metric, value) of the planned trials."""
        yield from self._values("SELECT trial_id, epoch, name, value FROM epochs JOIN trials ON trials.id = trial")

    def metric_orders(self) -> list[list[str]]:
        """Return the names of an epoch's metrics in the order in which they were logged, a list for each planned cell.

        Equal lists are given once; an older ledger has none. For metrics of layers, this is the order of the layers in
        the network.
        """
        if self._version < FIRST_WITH_ORDERS:
            return []
        rows = self._rows(
            "SELECT names FROM orders JOIN cells ON cells.id = cell WHERE position IS NOT NULL ORDER BY position"
        )
        return [[str(name) for name in json.loads(names)] for names in dict.fromkeys(row["names"] for row in rows)]

    def correct(self) -> Iterator[tuple[str, Correct]]:
        """Yield (trial_id, correct test examples) of the planned trials that report them; none in an older ledger."""
        if self._version < FIRST_WITH_TESTED:
            return
        columns = "trial_id, num_examples, bits, targets, examples"
        with self._translate_errors():
            for row in self._db.execute(f"SELECT {columns} FROM tested JOIN trials ON trials.id = trial WHERE planned"):  # noqa: S608
                yield str(row["trial_id"]), _correct(row)

    def trial(self, prefix: str) -> dict[str, Any]:
        """Return everything about the one trial whose id begins with `prefix`.

        The keys are those of `trials()`, and config, metrics (name -> value), epochs ([{name: value}], by epoch),
        correct (a `Correct`, or None) and history (a dict for each attempt: number, started_at, ended_at, status,
        error, versions).

        Raises:
            LedgerError: when no trial or more than one has such an id.
        """
        rows = self._rows(
            "SELECT trials.*, levels, config FROM trials JOIN cells ON cells.id = cell "
            "WHERE trial_id >= ? AND trial_id < ? LIMIT 2",  # a range of the index
            (prefix, f"{prefix}{chr(sys.maxunicode)}"),
        )
        if len(rows) != 1 or not prefix:
            found = "more than one trial" if rows else "no trial"
            raise LedgerError(f"{self.path}: {found} has an id that begins with {prefix!r}; trials.csv lists the ids")
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

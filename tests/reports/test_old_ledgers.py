"""Ledgers of earlier versions, which must give the same numbers and verdicts."""

import json
import math
import shutil
import sqlite3
from pathlib import Path

import pytest

from experiments import Ledger
from reports import build_report, to_document

LEDGERS = Path(__file__).parents[1] / "ledgers"
NAMES = sorted(path.stem for path in LEDGERS.glob("*.sqlite"))


@pytest.fixture(params=NAMES)
def old(request, tmp_path):
    """Copy an old ledger to a folder, and load the report of that version."""
    shutil.copy(LEDGERS / f"{request.param}.sqlite", tmp_path / "ledger.sqlite")
    return tmp_path, json.loads((LEDGERS / f"{request.param}.json").read_text(encoding="utf-8"))


def is_same(now, then):
    """Compare data, numbers to 9 digits, because numpy versions add up in different orders."""
    if isinstance(then, float) and isinstance(now, int | float):
        return math.isclose(now, then, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(then, dict):
        return isinstance(now, dict) and all(key in now and is_same(now[key], value) for key, value in then.items())
    return now == then


def test_there_is_an_old_ledger():
    assert NAMES


def test_numbers_and_verdicts_of_an_old_ledger(old):
    folder, expected = old
    tables = to_document(build_report(folder))["tables"]
    for name, then in expected.items():
        now = tables[name]
        assert len(now) == len(then), name
        differing = [(b, a) for a, b in zip(now, then, strict=True) if not is_same(a, b)]
        assert not differing, (name, differing[0])


def test_reading_an_old_ledger_does_not_change_it(old):
    folder, _ = old
    before = (folder / "ledger.sqlite").read_bytes()
    build_report(folder)
    assert (folder / "ledger.sqlite").read_bytes() == before


def test_trials_of_an_old_ledger_are_found_by_the_prefix_of_their_id(old):
    folder, expected = old
    with Ledger(folder / "ledger.sqlite", writable=False) as ledger:
        for row in expected["trials"]:
            found = ledger.trial(row["trial_id"][:8])
            assert (found["trial_id"], found["seed"], found["status"]) == (row["trial_id"], row["seed"], row["status"])


def test_an_old_ledger_is_continued(old):
    folder, expected = old
    with Ledger(folder / "ledger.sqlite", writable=True) as ledger:
        assert ledger.retry() == sum(row["status"] == "failed" for row in expected["trials"])
        assert len(ledger.pending()) == sum(row["status"] == "failed" for row in expected["trials"])
    with sqlite3.connect(folder / "ledger.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM metrics").fetchone()[0] > 0

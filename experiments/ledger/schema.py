"""Tables of the ledger, version by version, as SQL that file.py runs.

Tables: study (one row), cells (one resolved configuration each), trials (cell x seed), attempts, metrics (final
values), epochs (values by epoch, from 0), fingerprints (of the data), tested (correct test examples, one bit each),
orders (order in which the metrics of an epoch were logged). NaN is stored as NULL; infinities are stored.
"""

_SCHEMA = """
CREATE TABLE study (
  id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, content TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE cells (
  id INTEGER PRIMARY KEY, config_id TEXT NOT NULL UNIQUE, levels TEXT NOT NULL, config TEXT NOT NULL,
  position INTEGER  -- place in the study's plan; NULL when the study no longer has this cell
);
CREATE TABLE trials (
  id INTEGER PRIMARY KEY, trial_id TEXT NOT NULL UNIQUE, cell INTEGER NOT NULL REFERENCES cells (id),
  seed INTEGER NOT NULL, planned INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'finished', 'diverged', 'failed')),
  backend TEXT, device TEXT, seconds REAL, num_parameters INTEGER, diverged_epoch INTEGER, error TEXT,
  why_alone TEXT,  -- why it was not trained together with others, where that was asked for
  UNIQUE (cell, seed)
);
CREATE INDEX trials_by_status ON trials (planned, status);
CREATE TABLE attempts (
  trial INTEGER NOT NULL REFERENCES trials (id), number INTEGER NOT NULL, started_at TEXT NOT NULL, ended_at TEXT,
  status TEXT, error TEXT, versions TEXT, PRIMARY KEY (trial, number)
) WITHOUT ROWID;
CREATE TABLE metrics (
  trial INTEGER NOT NULL REFERENCES trials (id), name TEXT NOT NULL, value REAL, PRIMARY KEY (trial, name)
) WITHOUT ROWID;
CREATE TABLE epochs (
  trial INTEGER NOT NULL REFERENCES trials (id), epoch INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
  PRIMARY KEY (trial, epoch, name)
) WITHOUT ROWID;
"""

_NOTES = "ALTER TABLE study ADD COLUMN notes TEXT NOT NULL DEFAULT '[]'"  # on the data, a JSON list of sentences

_FINGERPRINTS = """
CREATE TABLE fingerprints (
  source TEXT PRIMARY KEY, hash TEXT NOT NULL  -- what data came from, such as a file, and a hash of its content
) WITHOUT ROWID;
"""

_TESTED = """
CREATE TABLE tested (
  trial INTEGER PRIMARY KEY REFERENCES trials (id), num_examples INTEGER NOT NULL,
  bits BLOB NOT NULL,  -- numpy.packbits, in the order of the test loader
  targets TEXT, examples TEXT  -- digests of both in that order
);
"""

_ORDERS = """
CREATE TABLE orders (
  cell INTEGER PRIMARY KEY REFERENCES cells (id), names TEXT NOT NULL  -- of the metrics of an epoch, a JSON list
);
"""

MIGRATIONS: tuple[str, ...] = (_SCHEMA, _NOTES, _FINGERPRINTS, _TESTED, _ORDERS)
"""Number k migrates a ledger from version k to k + 1. Append new ones; never edit one."""

VERSION = len(MIGRATIONS)
FIRST_WITH_NOTES = 2
FIRST_WITH_FINGERPRINTS = 3
FIRST_WITH_TESTED = 4
FIRST_WITH_ORDERS = 5

"""Ledger of a study in SQLite, and the folder that holds it. No other package has SQL."""

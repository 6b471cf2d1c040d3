"""The ledger of a study in SQLite, and the folder that holds it. The only SQL."""

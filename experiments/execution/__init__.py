"""Execution of a study: groups in order, on a runner, into the ledger."""

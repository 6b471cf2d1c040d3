"""Comparison of the runs in W&B with the ledger, and `push`, which writes missing ones."""

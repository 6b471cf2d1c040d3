"""Comparison of Weights & Biases with the ledger, and pushing what it lacks."""

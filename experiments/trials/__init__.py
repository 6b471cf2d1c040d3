"""Trials and results as plain data, and the identity of a trial."""

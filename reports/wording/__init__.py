"""Sentences and numbers of a report."""

"""Sentences of a report: numbers, verdicts, sensitivity and method."""

"""A study becomes its trials: checked, resolved and built once."""

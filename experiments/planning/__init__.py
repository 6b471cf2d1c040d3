"""Plan of a study: its trials, after every cell was checked, resolved and built once."""

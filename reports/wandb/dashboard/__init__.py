"""A dashboard in Weights & Biases: a workspace and a report, first as plain data."""

"""Dashboard of a study in Weights & Biases: a workspace and a report."""

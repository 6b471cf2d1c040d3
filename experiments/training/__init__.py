"""Training of one trial with the Lightning Trainer, and its random streams."""

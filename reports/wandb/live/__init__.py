"""Live runs in Weights & Biases, written by a child process of the command."""

"""Many trials in one training loop: which can share it, and the loop itself. The only vmap of the suite."""

from .groups import group_trials, train_together
from .trainer import train_group

__all__ = ["group_trials", "train_group", "train_together"]

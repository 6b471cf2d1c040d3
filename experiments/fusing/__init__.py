"""Many trials in one training loop: which can share it, and the loop itself. The only vmap of the suite."""

from .loop import train_group
from .plan import group_trials, train_together

__all__ = ["group_trials", "train_group", "train_together"]

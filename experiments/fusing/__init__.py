"""Many trials in one training loop: which can share it, and the loop itself. The only vmap of the suite."""

from .groups import group_trials, train_fused
from .trainer import train_in_one_loop

__all__ = ["group_trials", "train_fused", "train_in_one_loop"]

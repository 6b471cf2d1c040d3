"""Fused training: grouping of trials that can share a loop, and the loop itself. The only vmap of the suite."""

from .groups import group_trials, train_fused
from .trainer import train_in_one_loop

__all__ = ["group_trials", "train_fused", "train_in_one_loop"]

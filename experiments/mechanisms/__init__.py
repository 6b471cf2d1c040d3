"""Measurements inside networks in training: gradients, activations and updates of each layer, once an epoch."""

from .callback import Mechanisms

__all__ = ["Mechanisms"]

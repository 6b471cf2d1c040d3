"""What happens inside networks in training: gradients, activations and updates, layer by layer, once an epoch."""

from .callback import Mechanisms

__all__ = ["Mechanisms"]

"""A restricted Boltzmann machine: a visible and a hidden layer of binary units, trained without labels.

Shapes: N examples, B batch, V visible units, H hidden units.

Sources: Hinton 2002, Training products of experts by minimizing contrastive divergence; Hinton 2012, A practical guide
to training restricted Boltzmann machines ("the guide" below).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BATCH_SIZE = 100
"""Examples per step (Hinton & Salakhutdinov 2006)."""

WEIGHT_COST = 2e-4
"""L2 decay of weights, not of biases (Hinton & Salakhutdinov 2006; the guide, section 10)."""

MOMENTUM, FIRST_MOMENTUM, FIRST_EPOCHS = 0.9, 0.5, 5
"""Momentum, its lower value in the first epochs, and their number (the guide, section 9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradient:
    """Estimated gradient of the mean log likelihood: weight (H, V), hidden_bias (H,), visible_bias (V,)."""

    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class RBM:
    """p(v, h) proportional to exp(h W v + b h + a v), for binary v and h.

    Values of v between 0 and 1, such as pixels, are probabilities of a 1.

    weight: W (H, V); hidden_bias: b (H,); visible_bias: a (V,). `train_rbm` changes them in place.

    >>> rbm = RBM(weight=torch.zeros(3, 2), hidden_bias=torch.zeros(3), visible_bias=torch.zeros(2))
    >>> rbm.hidden(torch.tensor([[1.0, 0.0]]))
    tensor([[0.5000, 0.5000, 0.5000]])
    """

    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor

    def hidden(self, visible: Tensor) -> Tensor:
        """Return the probabilities that hidden units are 1, as a layer of sigmoid units does: (B, V) -> (B, H)."""
        return torch.addmm(self.hidden_bias, visible, self.weight.T).sigmoid_()

    def visible(self, hidden: Tensor) -> Tensor:
        """Return the probabilities that visible units are 1: (B, H) -> (B, V)."""
        return torch.addmm(self.visible_bias, hidden, self.weight).sigmoid_()

    def free_energy(self, visible: Tensor) -> Tensor:
        """Return F(v), where p(v) = exp(-F(v)) / Z: (B, V) -> (B,)."""
        fields = torch.addmm(self.hidden_bias, visible, self.weight.T)
        return -(visible @ self.visible_bias) - functional.softplus(fields).sum(1)

    def contrastive_divergence(self, visible: Tensor, noise: Tensor) -> Gradient:
        """Estimate the gradient by CD-1: correlations of units in the data minus those after one Gibbs step.

        Hidden states are binary where they produce the reconstruction, so that each transmits at most one bit.
        Elsewhere probabilities replace states, which reduces noise (the guide, section 3).

        Args:
            visible: the data, (B, V), from 0 to 1.
            noise: (B, H), uniform between 0 and 1; a hidden unit is 1 if its probability is larger.
        """
        hidden = self.hidden(visible)
        reconstruction = self.visible((noise < hidden).to(visible.dtype))
        hidden_after = self.hidden(reconstruction)
        weight = torch.addmm(hidden.T @ visible, hidden_after.T, reconstruction, alpha=-1)
        return Gradient(
            weight=weight.div_(len(visible)),
            hidden_bias=(hidden - hidden_after).mean(0),
            visible_bias=(visible - reconstruction).mean(0),
        )

    def reconstruction_error(self, visible: Tensor) -> float:
        """Return the mean squared error of reconstructions from hidden probabilities. visible: (N, V)."""
        total = 0.0
        for batch in torch.split(visible, 10 * BATCH_SIZE):
            total += (self.visible(self.hidden(batch)) - batch).square().sum().item()
        return total / visible.numel()


def compute_visible_biases(visible: Tensor) -> Tensor:
    """Return log(p / (1 - p)) for each visible unit, where p is how often it is on (the guide, section 8).

    p counts one additional 1 and one additional 0, since a pixel that is never on would have a bias of minus infinity.

    Args:
        visible: the data, (N, V), from 0 to 1.

    >>> compute_visible_biases(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist() == [torch.tensor(3.0).log().item(), 0.0]
    True
    """
    return torch.logit((visible.sum(0) + 1) / (len(visible) + 2))


def train_rbm(rbm: RBM, visible: Tensor, *, epochs: int, lr: float, generator: torch.Generator) -> None:
    """Train a machine on examples by contrastive divergence, in place.

    Args:
        rbm: the machine with its initial values.
        visible: the examples, (N, V), from 0 to 1.
        epochs: the number of epochs.
        lr: the learning rate; it is too large if the reconstruction error rises (the guide, section 7).
        generator: for the order of examples and the states of hidden units, on the device of the examples.
    """
    velocity = Gradient(
        weight=torch.zeros_like(rbm.weight),
        hidden_bias=torch.zeros_like(rbm.hidden_bias),
        visible_bias=torch.zeros_like(rbm.visible_bias),
    )
    for epoch in range(epochs):
        momentum = FIRST_MOMENTUM if epoch < FIRST_EPOCHS else MOMENTUM
        order = torch.randperm(len(visible), generator=generator, device=visible.device)
        for indices in torch.split(order, BATCH_SIZE):
            batch = visible[indices]
            shape = (len(batch), len(rbm.hidden_bias))
            noise = torch.rand(shape, generator=generator, dtype=batch.dtype, device=batch.device)
            gradient = rbm.contrastive_divergence(batch, noise)
            gradient.weight.sub_(rbm.weight, alpha=WEIGHT_COST)
            for name in ("weight", "hidden_bias", "visible_bias"):
                step = getattr(velocity, name).mul_(momentum).add_(getattr(gradient, name), alpha=lr)
                getattr(rbm, name).add_(step)

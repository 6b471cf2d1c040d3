"""A restricted Boltzmann machine: two layers of binary units, of which the hidden one learns without labels.

Shapes: N examples, B batch, V visible units, H hidden units.

Sources: Hinton 2002, Training products of experts by minimizing contrastive divergence; Hinton 2012, A practical guide
to training restricted Boltzmann machines ("the guide" below).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BATCH_SIZE = 100
"""Examples a step, as Hinton & Salakhutdinov 2006 took."""

WEIGHT_COST = 2e-4
"""L2 decay of the weights, not of the biases (Hinton & Salakhutdinov 2006; the guide, section 10)."""

MOMENTUM, FIRST_MOMENTUM, FIRST_EPOCHS = 0.9, 0.5, 5
"""Momentum, and the smaller one of the first epochs, while gradients are large (the guide, section 9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradient:
    """An estimate of the gradient of the mean log likelihood: by weight (H, V), hidden_bias (H,), visible_bias (V,)."""

    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class RBM:
    """p(v, h) proportional to exp(h W v + b h + a v), for binary v and h.

    Values of v between 0 and 1, as pixels are, stand for the probability of a 1.

    weight: W (H, V); hidden_bias: b (H,); visible_bias: a (V,). `train_rbm` changes them in place.

    >>> rbm = RBM(weight=torch.zeros(3, 2), hidden_bias=torch.zeros(3), visible_bias=torch.zeros(2))
    >>> rbm.hidden(torch.tensor([[1.0, 0.0]]))
    tensor([[0.5000, 0.5000, 0.5000]])
    """

    weight: Tensor
    hidden_bias: Tensor
    visible_bias: Tensor

    def hidden(self, visible: Tensor) -> Tensor:
        """The probabilities that hidden units are 1: (B, V) -> (B, H); what a layer of sigmoid units computes."""
        return torch.addmm(self.hidden_bias, visible, self.weight.T).sigmoid_()

    def visible(self, hidden: Tensor) -> Tensor:
        """The probabilities that visible units are 1: (B, H) -> (B, V)."""
        return torch.addmm(self.visible_bias, hidden, self.weight).sigmoid_()

    def free_energy(self, visible: Tensor) -> Tensor:
        """F(v) with p(v) = exp(-F(v)) / Z: (B, V) -> (B,)."""
        fields = torch.addmm(self.hidden_bias, visible, self.weight.T)
        return -(visible @ self.visible_bias) - functional.softplus(fields).sum(1)

    def contrastive_divergence(self, visible: Tensor, noise: Tensor) -> Gradient:
        """CD-1: what the data say of pairs of units, less what their reconstruction by one step of Gibbs sampling says.

        Hidden units are binary where they drive the reconstruction, so that no more than a bit of each gets through;
        everywhere else probabilities stand for states, which has less noise (the guide, section 3).

        Args:
            visible: the data, (B, V), from 0 to 1.
            noise: (B, H), uniform between 0 and 1: a hidden unit is 1 where its probability is larger.
        """
        hidden = self.hidden(visible)
        reconstruction = self.visible((noise < hidden).to(visible.dtype))
        hidden_then = self.hidden(reconstruction)
        weight = torch.addmm(hidden.T @ visible, hidden_then.T, reconstruction, alpha=-1)
        return Gradient(
            weight=weight.div_(len(visible)),
            hidden_bias=(hidden - hidden_then).mean(0),
            visible_bias=(visible - reconstruction).mean(0),
        )

    def reconstruction_error(self, visible: Tensor) -> float:
        """The mean squared difference between examples (N, V) and what their hidden probabilities give back."""
        total = 0.0
        for batch in torch.split(visible, 10 * BATCH_SIZE):
            total += (self.visible(self.hidden(batch)) - batch).square().sum().item()
        return total / visible.numel()


def visible_biases(visible: Tensor) -> Tensor:
    """log(p / (1 - p)) of each visible unit, with which W = 0 explains how often it is on (the guide, section 8).

    p counts one more example with a 1 and one with a 0, lest a pixel that is never on has a bias of minus infinity.

    Args:
        visible: the data, (N, V), from 0 to 1.

    >>> visible_biases(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist() == [torch.tensor(3.0).log().item(), 0.0]
    True
    """
    return torch.logit((visible.sum(0) + 1) / (len(visible) + 2))


def train_rbm(rbm: RBM, visible: Tensor, *, epochs: int, lr: float, generator: torch.Generator) -> None:
    """Climb the likelihood of examples by contrastive divergence, in place.

    Args:
        rbm: where to start.
        visible: the examples, (N, V), from 0 to 1.
        epochs: how often each example is seen.
        lr: the learning rate; too large where the reconstruction error rises (the guide, section 7).
        generator: of the order of examples and the states of hidden units, on the device of the examples.
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

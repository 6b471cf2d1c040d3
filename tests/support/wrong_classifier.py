"""Shipped classifier with a user's layer whose backward pass is wrong."""

import torch

from lit_models import MLP


class Halved(torch.autograd.Function):
    """Identity whose backward pass halves the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 2


class WrongClassifier(MLP):
    def forward(self, inputs):
        hidden = self.layers.activation1(Halved.apply(self.layers.linear1(inputs.flatten(1))))
        return self.layers.output(hidden)

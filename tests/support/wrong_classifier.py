"""A classifier of ours with a layer of a user's, whose backward is wrong."""

import torch

from lit_models import MLP


class Halved(torch.autograd.Function):
    """The identity, whose backward halves."""

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

"""Small classifiers for Lightning, each a stack of named ingredients that a study can switch on, off or over."""

from lit_models.classifier import Classifier
from lit_models.convnet import ConvNet, conv_size
from lit_models.initialisation import Init, initialise
from lit_models.layers import Activation, make_activation
from lit_models.metrics import accuracy, auroc, f1
from lit_models.mlp import MLP
from lit_models.perceptron import Perceptron

__all__ = [
    "MLP",
    "Activation",
    "Classifier",
    "ConvNet",
    "Init",
    "Perceptron",
    "accuracy",
    "auroc",
    "conv_size",
    "f1",
    "initialise",
    "make_activation",
]

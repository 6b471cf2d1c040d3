"""Small LightningModules, built from ingredients that a study can switch or replace."""

from functools import partial

from ablation_suite.names import check_package, miss_attribute
from lit_models.activations import Activation, make_activation
from lit_models.classifier import Classifier, Head
from lit_models.convnet import ConvNet, conv_size
from lit_models.initialisation import Init, initialise
from lit_models.losses import Loss, RegressionLoss
from lit_models.mean_embedding import MeanEmbedding
from lit_models.metrics import accuracy, auroc, f1, r2, rmse
from lit_models.mlp import MLP, MLPInit
from lit_models.mlp_regressor import MLPRegressor
from lit_models.network import Network
from lit_models.numerical_gradient import GradientBy, NumericalGradientMLP
from lit_models.perceptron import Perceptron
from lit_models.rbm import RBM, train_rbm
from lit_models.readout import Readout
from lit_models.recurrence import Cell, Recurrence
from lit_models.recurrent import Recurrent
from lit_models.regressor import Regressor
from lit_models.sequences import SequenceClassifier, SequenceRegressor
from lit_models.text_convnet import TextConvNet

__all__ = [
    "MLP",
    "RBM",
    "Activation",
    "Cell",
    "Classifier",
    "ConvNet",
    "GradientBy",
    "Head",
    "Init",
    "Loss",
    "MLPInit",
    "MLPRegressor",
    "MeanEmbedding",
    "Network",
    "NumericalGradientMLP",
    "Perceptron",
    "Readout",
    "Recurrence",
    "Recurrent",
    "RegressionLoss",
    "Regressor",
    "SequenceClassifier",
    "SequenceRegressor",
    "TextConvNet",
    "accuracy",
    "auroc",
    "conv_size",
    "f1",
    "initialise",
    "make_activation",
    "r2",
    "rmse",
    "train_rbm",
]

__getattr__ = partial(miss_attribute, __name__)  # where a user's folder of this name has an `__init__.py`
check_package(__name__)

"""LightningDataModules in memory, whose splits and batch orders depend only on a seed."""

from functools import partial

from ablation_suite.names import check_package, miss_attribute
from datamodules.adding import AddingProblem
from datamodules.cifar10 import CIFAR10
from datamodules.diabetes import Diabetes
from datamodules.digits import Digits
from datamodules.images import ImageDataModule
from datamodules.in_memory import InMemoryDataModule
from datamodules.labelled_texts import LabelledTexts
from datamodules.mnist import MNIST
from datamodules.sentiment import Sentiment
from datamodules.shapes import Shapes
from datamodules.splits import Split, draw_fold, draw_split
from datamodules.synthetic import SyntheticReviews
from datamodules.tensors import TensorDataModule
from datamodules.texts import TextDataModule

__all__ = [
    "CIFAR10",
    "MNIST",
    "AddingProblem",
    "Diabetes",
    "Digits",
    "ImageDataModule",
    "InMemoryDataModule",
    "LabelledTexts",
    "Sentiment",
    "Shapes",
    "Split",
    "SyntheticReviews",
    "TensorDataModule",
    "TextDataModule",
    "draw_fold",
    "draw_split",
]

__getattr__ = partial(miss_attribute, __name__)  # where a user's folder of this name has an `__init__.py`
check_package(__name__)

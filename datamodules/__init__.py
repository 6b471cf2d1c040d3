"""Data sets held in memory, whose splits and batch orders depend on a seed and on nothing else."""

from datamodules.diabetes import Diabetes
from datamodules.digits import Digits
from datamodules.images import ImageDataModule
from datamodules.in_memory import InMemoryDataModule
from datamodules.labelled_texts import LabelledTexts
from datamodules.mnist import MNIST
from datamodules.sentiment import Sentiment
from datamodules.splits import Split, draw_fold, draw_split
from datamodules.synthetic import SyntheticReviews
from datamodules.tensors import TensorDataModule
from datamodules.texts import TextDataModule

__all__ = [
    "MNIST",
    "Diabetes",
    "Digits",
    "ImageDataModule",
    "InMemoryDataModule",
    "LabelledTexts",
    "Sentiment",
    "Split",
    "SyntheticReviews",
    "TensorDataModule",
    "TextDataModule",
    "draw_fold",
    "draw_split",
]

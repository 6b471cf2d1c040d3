"""Data sets held in memory as tensors, whose splits and batch orders depend on a seed and on nothing else."""

from datamodules.digits import Digits
from datamodules.mnist import MNIST
from datamodules.splits import Split, draw_split
from datamodules.tensors import TensorDataModule

__all__ = ["MNIST", "Digits", "Split", "TensorDataModule", "draw_split"]

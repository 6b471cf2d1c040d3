"""Data modules for models that need two classes or texts."""

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

from datamodules import AddingProblem, Digits


class OddOrEven(Digits):
    """Digits with two classes, odd and even."""

    num_classes = 2

    def load(self):
        inputs, target = super().load()
        return inputs, target % 2


class FewToAdd(AddingProblem):
    """Adding problem over six steps, with a few hundred examples."""

    input_shape = (6, 2)

    def __init__(self, batch_size: int = 32):
        super().__init__(length=6, num_sequences=300, batch_size=batch_size)


class TinyTexts(LightningDataModule):
    """Token ids of short texts; classes differ in word frequencies. Some texts are all padding."""

    input_shape = (12,)
    num_classes = 3
    vocabulary_size = 30

    def __init__(self, batch_size: int = 32):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage=None):
        inputs, target = self.texts(400)
        self.parts = [TensorDataset(inputs[part], target[part]) for part in (slice(300), slice(300, 350), slice(350))]

    @classmethod
    def texts(cls, num_texts, seed=0):
        """Return inputs (num_texts, 12) and targets (num_texts,), both int64; a text has 0 to 12 tokens."""
        (length,), generator = cls.input_shape, torch.Generator().manual_seed(seed)
        target = torch.randint(cls.num_classes, (num_texts,), generator=generator)
        words = torch.randint(1, cls.vocabulary_size, (num_texts, length), generator=generator)
        liked = torch.rand(num_texts, length, generator=generator) < 0.3
        words = torch.where(liked, 2 + target.unsqueeze(1), words)
        lengths = torch.randint(length + 1, (num_texts,), generator=generator)
        return words.masked_fill(torch.arange(length) >= lengths.unsqueeze(1), 0), target

    def train_dataloader(self):
        return DataLoader(self.parts[0], batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.parts[1], batch_size=50)

    def test_dataloader(self):
        return DataLoader(self.parts[2], batch_size=50)


class TwoKindsOfTexts(TinyTexts):
    """TinyTexts with two classes."""

    num_classes = 2

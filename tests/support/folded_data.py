"""User data module with folds and notes on its data, which imports nothing of the suite."""

import lightning.pytorch as lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset


class FoldedPoints(lightning.LightningDataModule):
    """Data of 40 points in four dimensions for UserModule; fold = seed mod folds of partition seed // folds."""

    def __init__(self, folds: int | None = None, noise: float = 0.1, says: str = ""):
        super().__init__()
        self.seed = torch.initial_seed()
        self.folds = folds
        self.noise = noise
        self.says = says
        self.is_prepared = False

    def prepare_data(self):
        self.is_prepared = True

    def _parts(self):
        folds = self.folds or 5
        order = np.random.default_rng(self.seed // folds).permutation(40)
        parts = np.array_split(order, folds)
        test = parts.pop(self.seed % folds)
        return np.concatenate(parts), test

    def setup(self, stage):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(40, 4)).astype(np.float32)
        y = (x.sum(axis=1) + self.noise * rng.normal(size=40)).astype(np.float32)
        train, test = self._parts()
        self.train, self.test = (TensorDataset(torch.from_numpy(x[i]), torch.from_numpy(y[i])) for i in (train, test))

    def notes(self):
        assert self.is_prepared
        if self.says == "raises":
            raise KeyError("nothing to say")
        if self.says == "number":
            return 3
        if self.says == "a text":
            return "one sentence"
        if self.says == "control":
            return ["a \x1b[31mred\x1b[0m [bold]note[/bold]\nof two lines"]
        if self.says:
            return [self.says]
        return [f"noise of {self.noise}", f"the first test point is {self._parts()[1][0]}"]

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.test, batch_size=8)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=8)


class AttributeNotes(FoldedPoints):
    """Data module with an attribute `notes` that is no method."""

    notes = "an attribute"

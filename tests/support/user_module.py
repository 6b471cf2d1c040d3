"""User module and data module, which import nothing of the suite."""

import random

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


class UserModule(lightning.LightningModule):
    """Ordinary module; `extra` adds a layer in the middle."""

    def __init__(self, width: int = 6, extra: bool = False, dropout: float = 0.0, lr: float = 0.1, fails: str = ""):
        super().__init__()
        self.save_hyperparameters()
        self.first = nn.Linear(4, width)
        self.middle = nn.Linear(width, width) if extra else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.randn(3) * 0.02)
        nn.init.orthogonal_(self.last.weight)
        self.seen: list[torch.Tensor] = []

    def forward(self, x):
        return self.last(self.dropout(torch.relu(self.middle(self.first(x))))).squeeze(1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.seen.append(x.detach().clone())
        if self.hparams.fails == "raises" and self.current_epoch == 1:
            raise ValueError("the user's own error")
        if self.hparams.fails == "exits":
            raise SystemExit(3)
        loss = ((self(x) - y) ** 2).mean()
        if self.hparams.fails == "diverges" and self.current_epoch == 1:
            loss = loss * float("nan")
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(y))
        self.log("train_step", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", ((self(x) - y) ** 2).mean(), batch_size=len(y))
        self.log("val/count", float(len(y)), reduce_fx="sum")

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log_dict({"test/loss": ((self(x) - y) ** 2).mean()}, batch_size=len(y))

    def on_train_epoch_end(self):
        self.log("epoch_number", float(self.current_epoch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class DrawsEverywhere(UserModule):
    """Module that draws `times` times from every global generator in every hook."""

    def __init__(self, times: int = 0):
        super().__init__()
        self.times = times

    def _draw(self, *_):
        for _ in range(self.times):
            torch.rand(3), np.random.rand(3), random.random()

    on_fit_start = on_train_start = on_train_epoch_start = on_train_batch_start = on_train_batch_end = _draw
    on_validation_epoch_start = on_validation_batch_end = on_test_start = on_before_batch_transfer_ = _draw

    def training_step(self, batch, batch_idx):
        self._draw()
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self._draw()
        super().validation_step(batch, batch_idx)


class UsesItsLogger(UserModule):
    """Module that writes a scalar to its logger, and logs a metric without the logger."""

    def on_train_epoch_end(self):
        self.logger.experiment.add_scalar("x", 1.0)
        self.log("hidden", 2.0, logger=False)


class NoisyPoints(Dataset):
    """Data of 64 points whose targets get new noise from numpy and torch each time they are read."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        x = torch.linspace(0, 1, 4) * (index + 1) / 64 + 0.01 * torch.randn(4)
        return x, float(np.random.normal(0, 0.01)) + index / 64


class UserData(lightning.LightningDataModule):
    """Data that are split and shuffled with the global generator of torch."""

    def __init__(self, batch_size: int = 16, num_workers: int = 0):
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers

    def setup(self, stage):
        self.train, self.val, self.test = random_split(NoisyPoints(), [40, 12, 12])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=5)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=5)


class KeepsItsList(lightning.LightningModule):
    """Module that keeps a reference to its argument, a list."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes

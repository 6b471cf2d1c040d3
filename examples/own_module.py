"""Your own network and data in plain Lightning, without any import from the suite."""

import lightning
import torch
from sklearn.datasets import make_moons
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class TwoMoonsNet(lightning.LightningModule):
    """Small classifier of points (batch, 2) into two classes."""

    def __init__(self, width: int = 16, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))

    def training_step(self, batch, batch_idx):
        """Return the binary cross-entropy of a batch."""
        x, y = batch
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(x).squeeze(1), y)
        self.log("train/loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch, batch_idx):
        """Log the accuracy of a batch."""
        x, y = batch
        self.log("val/acc", ((self.net(x).squeeze(1) > 0) == y.bool()).float().mean())

    def configure_optimizers(self):
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class TwoMoons(lightning.LightningDataModule):
    """Data module of 400 noisy points, split at random and shuffled by a stock DataLoader."""

    def __init__(self, noise: float = 0.2, batch_size: int = 20) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage):
        """Split 300 points for training, 100 for validation."""
        x, y = make_moons(400, noise=self.hparams.noise, random_state=0)
        points = TensorDataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))
        self.train, self.val = random_split(points, [300, 100])

    def train_dataloader(self):
        """Return batches in random order."""
        return DataLoader(self.train, batch_size=self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        """Return all points as one batch."""
        return DataLoader(self.val, batch_size=100)

"""Modules whose state a measurement must not disturb, or that it cannot measure, and data for them."""

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric


class Numbers(lightning.LightningDataModule):
    """Data of 60 training and 20 validation points of 4 numbers, shuffled by a loader with a separate generator."""

    def __init__(self, batch_size: int = 8, num_train: int = 60, has_validation: bool = True):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage):
        draws = torch.Generator().manual_seed(3)
        x = torch.randn(100, 4, generator=draws)
        y = x[:, 0] * x[:, 1] + 0.1 * torch.randn(100, generator=draws)
        self.train, self.rest = TensorDataset(x[:60], y[:60]), TensorDataset(x[60:80], y[60:80])
        self.own = torch.Generator().manual_seed(1)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.hparams.batch_size, shuffle=True, generator=self.own)

    def val_dataloader(self):
        return DataLoader(self.rest, batch_size=20) if self.hparams.has_validation else []

    def test_dataloader(self):
        return DataLoader(self.rest, batch_size=20)


class Small(lightning.LightningModule):
    """Network of two layers, the first of which is called twice, with ReLU and addition in place."""

    def __init__(self, lr: float = 0.05):
        super().__init__()
        self.save_hyperparameters()
        self.first = nn.Linear(4, 4)
        self.act = nn.ReLU(inplace=True)
        self.last = nn.Linear(4, 1)

    def forward(self, x):
        hidden = self.act(self.first(x))
        hidden = self.act(self.first(hidden))
        out = self.last(hidden)
        out += 0.5
        return out.squeeze(1)

    def error(self, batch):
        x, y = batch
        return ((self(x) - y) ** 2).mean()

    def training_step(self, batch, batch_idx):
        loss = self.error(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.error(batch))

    def test_step(self, batch, batch_idx):
        self.log("test/loss", self.error(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)


class KeepsThings(Small):
    """Module whose loss depends on counters, random draws, kept graphs, numbers and buffers."""

    def __init__(self, lr: float = 0.05):
        super().__init__(lr)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.3)
        self.seen = []
        self.nested = {"losses": []}
        self.count = 0
        self.mean_error = MeanMetric()
        self.register_buffer("average", torch.zeros(()))
        self.last_loss = None

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.count += 1
        noise = torch.randn_like(x) * 0.01 + float(np.random.rand()) * 0.01
        self.trainer.steps_seen = getattr(self.trainer, "steps_seen", 0) + 1
        self.logger.experiment.add_scalar("steps", self.trainer.steps_seen)
        loss = self.error((self.dropout(self.norm(x + noise)), y)) + 1e-3 * len(self.seen) + 1e-3 * self.average
        loss = loss * (1 + 1e-3 * self.count + 1e-3 * self.trainer.steps_seen)
        if self.nested["losses"]:
            loss = loss + 1e-3 * self.nested["losses"][-1].detach()
        self.nested["losses"].append(loss)
        self.seen.append(x)
        self.average.mul_(0.9).add_(loss.detach())
        self.last_loss = loss
        x.mul_(0.0)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        self.log("train/count", float(self.count))
        return loss

    def validation_step(self, batch, batch_idx):
        self.mean_error(self.error(batch))
        self.log("val/loss", self.mean_error)
        self.log("val/sum", 1.0, reduce_fx="sum")


class ByHand(Small):
    def __init__(self, lr: float = 0.05):
        super().__init__(lr)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = self.error(batch)
        self.manual_backward(loss)
        optimizer.step()
        self.log("train/loss", loss, on_step=False, on_epoch=True)


class RaisesOnCopies(Small):
    """Module that cannot be copied."""

    def __deepcopy__(self, memo):
        raise TypeError("this module is one of a kind")


class Explodes(Small):
    """Module whose gradient is NaN in the second epoch, unlike its loss and weights."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if self.current_epoch == 1:
            zero = (self.last.weight * 0).sum()
            loss = loss + torch.where(zero == 0, zero.detach(), zero.sqrt()) * 1.0
        return loss

    def on_after_backward(self):
        for parameter in self.parameters():
            parameter.grad.nan_to_num_()


class Odd:
    """Batch of a type that only its module understands."""

    def __init__(self, rows):
        self.pair = torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows])


class OddBatches(Numbers):
    def train_dataloader(self):
        return DataLoader(self.train, batch_size=8, collate_fn=Odd)


class ReadsOdd(Small):
    def training_step(self, batch, batch_idx):
        return self.error(batch.pair)


class Appends(Small):
    """Module whose loss depends on the number of calls, kept in a list."""

    def __init__(self, lr: float = 0.05):
        super().__init__(lr)
        self.calls = []

    def training_step(self, batch, batch_idx):
        self.calls.append(batch_idx)
        return super().training_step(batch, batch_idx) * (1 + 1e-2 * len(self.calls))


class HalfUsed(Small):
    """Module of four layers, one never called, one with unused output, and the first frozen."""

    def __init__(self, lr: float = 0.05):
        super().__init__(lr)
        self.unused = nn.Linear(4, 4)
        self.beside = nn.Linear(4, 4)
        self.middle = nn.Linear(4, 4)
        self.first.weight.requires_grad = False
        self.first.bias.requires_grad = False

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        self.beside(hidden)
        return self.last(self.middle(hidden)).squeeze(1)


class SkipsLast(Small):
    """Module without a loss in the last batch of an epoch."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx == self.trainer.num_training_batches - 1 else loss


class OwnHead(Small):
    """Module whose last weight is a parameter of the module, registered before all layers."""

    def __init__(self, lr: float = 0.05):
        super().__init__(lr)
        self.last = nn.Identity()
        self.middle = nn.Linear(4, 4)
        self.head = nn.Parameter(torch.linspace(-1, 1, 4).unsqueeze(1))

    def forward(self, x):
        return (torch.tanh(self.middle(torch.tanh(self.first(x)))) @ self.head).squeeze(1)


class OwnWeights(Small):
    """Module with two weights and no layer."""

    def __init__(self, lr: float = 0.05):
        super().__init__(lr)
        del self.first, self.last
        self.one = nn.Parameter(torch.linspace(-1, 1, 16).reshape(4, 4))
        self.two = nn.Parameter(torch.linspace(-1, 1, 4).unsqueeze(1))

    def forward(self, x):
        return (torch.tanh(x @ self.one) @ self.two).squeeze(1)

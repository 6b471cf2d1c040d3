"""User modules, each with a feature that a fused loop may treat wrongly."""

import random
from collections import OrderedDict

import lightning.pytorch as lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Odd(lightning.LightningModule):
    """Small regression with SGD; each subclass changes one feature."""

    def __init__(self, lr: float = 0.05, extra: float = 0.0, kind: str = ""):
        super().__init__()
        self.save_hyperparameters()
        self.make()

    def make(self):
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))

    def error(self, batch):
        x, y = batch
        return ((self.net(x).squeeze(1) - y) ** 2).mean()

    def training_step(self, batch, batch_idx):
        loss = self.error(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.error(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class EvalParts(Odd):
    def make(self):
        self.back = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.3)).eval()
        self.net = nn.Sequential(self.back, nn.Linear(4, 1))


class DropoutTwice(Odd):
    def make(self):
        drop, act = nn.Dropout(0.5), nn.Tanh()
        self.net = nn.Sequential(nn.Linear(4, 6), act, drop, nn.Linear(6, 6), act, drop, nn.Linear(6, 1))


class Counter(Odd):
    def make(self):
        super().make()
        self.num_steps = 0

    def training_step(self, batch, batch_idx):
        self.num_steps += 1
        return self.error(batch) / self.num_steps


class MomentumCopy(Odd):
    def make(self):
        super().make()
        self.slow = nn.Parameter(self.net[0].weight.detach().clone(), requires_grad=False)

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            self.slow.mul_(0.9).add_(0.1 * self.net[0].weight)
        return self.error(batch) + ((self.net[0].weight - self.slow) ** 2).sum()


class AssignedBuffer(Odd):
    def make(self):
        super().make()
        self.register_buffer("scale", torch.ones(()))

    def training_step(self, batch, batch_idx):
        self.scale = self.scale * 0.9
        return self.error(batch) * self.scale

    def validation_step(self, batch, batch_idx):
        self.scale = self.scale + 1
        self.log("val/loss", self.error(batch) * self.scale)


class LateModel(Odd):
    def configure_model(self):
        self.net[0].requires_grad_(False)
        if not hasattr(self, "more"):
            self.more = nn.Linear(4, 1)

    def error(self, batch):
        return super().error(batch) + self.more(batch[0]).mean() ** 2


class OneArgument(Odd):
    def training_step(self, batch):
        return self.error(batch) * (2 if isinstance(batch, list) else 1)

    def validation_step(self, batch):
        self.log("val/loss", self.error(batch))


class Numbers(Odd):
    def training_step(self, batch, batch_idx):
        self.log("tenth", 0.1, on_step=False, on_epoch=True)
        return self.error(batch) * torch.tensor(0.1)


class OtherDropout(Odd):
    def make(self):
        self.net = nn.Sequential(nn.Linear(4, 6), nn.AlphaDropout(0.4), nn.Linear(6, 1))


class ChangedRate(Odd):
    def make(self):
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Linear(6, 1))

    def training_step(self, batch, batch_idx):
        self.net[1].p = 0.3 * self.current_epoch
        return super().training_step(batch, batch_idx)


class TurnedDropout(Odd):
    def make(self):
        self.first, self.drop, self.last = nn.Linear(4, 6), nn.Dropout(0.4), nn.Linear(6, 1)

    def error(self, batch):
        x, y = batch
        hidden = self.drop(self.first(x).view(-1, 2, 3).transpose(1, 2))
        return ((self.last(hidden.flatten(1)).squeeze(1) - y) ** 2).mean()


class DropoutSomewhere(Odd):
    def make(self):
        layers = [("l1", nn.Linear(4, 6)), ("act", nn.Tanh()), ("l2", nn.Linear(6, 1))]
        layers.insert(1 if self.hparams.kind == "a" else 2, (f"drop_{self.hparams.kind}", nn.Dropout(0.4)))
        self.net = nn.Sequential(OrderedDict(layers))


class SeedsOwn(Odd):
    def make(self):
        super().make()
        self.project = torch.randn(4, 4)

    def error(self, batch):
        x, y = batch
        return super().error((x @ self.project.to(x), y))


class Words(Odd):
    def make(self):
        self.embed = nn.Embedding(5, 4, padding_idx=0)
        super().make()

    def error(self, batch):
        x, y = batch
        return super().error((self.embed(x.abs().long().clamp(max=4)).mean(1), y))


class LateDraws(Odd):
    def training_step(self, batch, batch_idx):
        scale = 1.0 + (random.random() if self.current_epoch else 0)
        return self.error(batch) * scale


class GradientHook(Odd):
    def make(self):
        super().make()
        self.net[0].weight.register_hook(lambda gradient: gradient * 0.1)


class LogsTwice(Odd):
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.error(batch))
        self.log("val/loss", 2 * self.error(batch))


class ReadsInValidation(Odd):
    @torch.no_grad()
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.error(batch) * (1 + self.hparams.extra))


class ReadsInGenerator(Odd):
    """Module with a penalty below the rounding of single precision, in a generator expression."""

    def training_step(self, batch, batch_idx):
        return self.error(batch) + sum(self.hparams.extra * p.pow(2).sum() for p in self.parameters())


class Loaded(lightning.LightningDataModule):
    """Data with TensorDataset and random_split, as in many tutorials."""

    def setup(self, stage):
        draws = torch.Generator().manual_seed(5)
        x = torch.randn(60, 4, generator=draws)
        self.train, self.val = random_split(TensorDataset(x, x[:, 0] - x[:, 1] * x[:, 2]), [45, 15])
        self.generator = torch.Generator().manual_seed(3)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=16, shuffle=True, generator=self.generator)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=8)


class Changed(Loaded):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        x, y = batch
        return 2 * x, y

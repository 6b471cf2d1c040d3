"""User module that can be fused, with variations that cannot."""

import os
import time

import lightning.pytorch as lightning
import torch
from torch import nn
from user_module import UserData


class Fusable(lightning.LightningModule):
    """Module that logs means over the epoch and takes its learning rate from hparams."""

    def __init__(self, width: int = 6, lr: float = 0.1, weight: float = 1.0, schedule: str = "", bad_at: int = -1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))

    def _error(self, batch):
        x, y = batch
        return ((self.net(x).squeeze(1) - y) ** 2).mean() * self.hparams.weight

    def training_step(self, batch, batch_idx):
        loss = self._error(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return {"loss": loss}

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self._error(batch))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        if self.hparams.schedule == "step":
            steps = self.trainer.estimated_stepping_batches
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.hparams.lr, total_steps=steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        if self.hparams.schedule == "rare":
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "frequency": 2}}
        if self.hparams.schedule == "epoch":
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]
        return optimizer


class ReadsTrainer(Fusable):
    def training_step(self, batch, batch_idx):
        return self._error(batch) * (1 + len(self.trainer.callbacks))


class KnowsWhen(Fusable):
    def training_step(self, batch, batch_idx):
        return self._error(batch) * (1 + self.current_epoch) / (1 + self.global_step)


class LogsSteps(Fusable):
    """Module that logs single steps, the default of Lightning, rather than means."""

    def training_step(self, batch, batch_idx):
        loss = self._error(batch)
        self.log("train_loss", loss, prog_bar=True)
        self.log("twice", 2 * loss, on_step=True, on_epoch=True)
        return loss


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


class OwnForms(Fusable):
    """Module with tied layers, bare parameters, inputs with three axes, hooks and parametrisations."""

    def __init__(self, lr: float = 0.1):
        super().__init__(lr=lr)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(2)
        self.act = nn.PReLU()
        self.wide = nn.PReLU(2)
        self.normed = nn.utils.parametrize.register_parametrization(nn.Linear(4, 4), "weight", Halved())
        self.hooked = nn.Linear(4, 1)
        self.hooked.register_forward_hook(lambda module, inputs, output: 2 * output)
        self.scale = nn.Parameter(torch.ones(()))

    def _error(self, batch):
        x, y = batch
        both = torch.stack([self.first(x), self.second(x)], dim=1)
        both = self.act(self.wide(self.norm(both)))
        out = self.hooked(self.normed(both)).mean(dim=(1, 2)) * self.scale + self.first.weight.sum()
        return ((out - y) ** 2).mean()


class ByHand(Fusable):
    def __init__(self, lr: float = 0.1):
        super().__init__(lr=lr)
        self.automatic_optimization = False


class ReadsHidden(Fusable):
    """Module that reads a hyperparameter by a computed name, which only the proof finds."""

    def training_step(self, batch, batch_idx):
        return self._error(batch) * (1 + self.hparams["rl"[::-1]])


class DiesInCompany(Fusable):
    """Module that ends its process if it is fused with others."""

    def validation_step(self, batch, batch_idx):
        if not isinstance(self._trainer, lightning.Trainer):
            os._exit(3)
        return super().validation_step(batch, batch_idx)


class Recurrent(Fusable):
    def __init__(self, lr: float = 0.1):
        super().__init__(lr=lr)
        self.cell = nn.LSTM(4, 4)


class Points(UserData):
    """Data of UserModule: random_split, a shuffling DataLoader, and new noise each time an example is read."""


class HangsInCompany(Fusable):
    """Module whose step never ends if it is fused with others."""

    def training_step(self, batch, batch_idx):
        if torch._C._functorch.maybe_current_level() is not None:
            time.sleep(600)
        return super().training_step(batch, batch_idx)

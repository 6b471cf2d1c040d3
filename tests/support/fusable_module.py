"""A user's own module that trains functionally, with variations that keep it out of a group."""

import os

import lightning.pytorch as lightning
import torch
from torch import nn
from user_module import UserData


class Fusable(lightning.LightningModule):
    """Logs means over the epoch; takes its learning rate from hparams, as people write it."""

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
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.hparams.lr, total_steps=9)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        if self.hparams.schedule == "rare":
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "frequency": 2}}
        if self.hparams.schedule == "epoch":
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]
        return optimizer


class ReadsTrainer(Fusable):
    def training_step(self, batch, batch_idx):
        return self._error(batch) * (1 + self.trainer.current_epoch)


class LogsSteps(Fusable):
    def training_step(self, batch, batch_idx):
        loss = self._error(batch)
        self.log("train/loss", loss)
        return loss


class ByHand(Fusable):
    def __init__(self, lr: float = 0.1):
        super().__init__(lr=lr)
        self.automatic_optimization = False


def scale_of(module):
    """Reads a hyperparameter where the code of the module does not show it: only the proof finds it."""
    return 1 + module.hparams.lr


class ReadsOutside(Fusable):
    def training_step(self, batch, batch_idx):
        return self._error(batch) * scale_of(self)


class DiesInCompany(Fusable):
    """Ends its process when it is trained together with others."""

    def validation_step(self, batch, batch_idx):
        if not isinstance(self._trainer, lightning.Trainer):
            os._exit(3)
        return super().validation_step(batch, batch_idx)


class Recurrent(Fusable):
    def __init__(self, lr: float = 0.1):
        super().__init__(lr=lr)
        self.cell = nn.LSTM(4, 4)


class Points(UserData):
    """The data of UserModule: random_split, a shuffling DataLoader, noise at every reading."""

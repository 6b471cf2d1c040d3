"""A user's own module that trains functionally, with variations that keep it out of a group."""

import os
import time

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
    """As Lightning logs by default: the last step of each so many, not the mean."""

    def training_step(self, batch, batch_idx):
        loss = self._error(batch)
        self.log("train_loss", loss, prog_bar=True)
        self.log("twice", 2 * loss, on_step=True, on_epoch=True)
        return loss


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


class OwnForms(Fusable):
    """Layers as people use them outside a Sequential: tied, bare, on three axes, hooked, reparametrised."""

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
    """Reads a hyperparameter where no code shows its name: only the proof finds it."""

    def training_step(self, batch, batch_idx):
        return self._error(batch) * (1 + self.hparams["rl"[::-1]])


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


class HangsInCompany(Fusable):
    """Steps for ever, but only where trials are trained together."""

    def training_step(self, batch, batch_idx):
        if torch._C._functorch.maybe_current_level() is not None:
            time.sleep(600)
        return super().training_step(batch, batch_idx)

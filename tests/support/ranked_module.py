"""User module that one trial trains on several devices."""

import os
import signal
import time
from pathlib import Path

import lightning.pytorch as lightning
import psutil
import torch
from torch import nn
from user_module import UserData


class Ranked(lightning.LightningModule):
    """Module that logs the data of each rank; `fault` occurs once, in the last rank, while `folder`/armed exists."""

    def __init__(self, lr: float = 0.1, fault: str = "", folder: str = ""):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        if self.hparams.fault and self.global_rank == self.trainer.world_size - 1:
            self._fault()
        loss = ((self.net(x).squeeze(1) - y) ** 2).mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(y))
        self.log("train/examples", float(len(y)), on_step=False, on_epoch=True, batch_size=len(y))
        return loss

    def _fault(self):
        if self.hparams.fault == "raise":
            raise ValueError("the last rank's own error")
        if self.hparams.fault == "nan" and self.current_epoch == 1:
            with torch.no_grad():
                self.net.weight.fill_(float("nan"))
        armed = Path(self.hparams.folder) / "armed"
        if self.hparams.fault == "kill" and armed.exists():
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(30)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", ((self.net(x).squeeze(1) - y) ** 2).mean(), batch_size=len(y))
        self.log("val/rank", float(self.global_rank), batch_size=len(y))
        self.log("val/count", float(len(y)), reduce_fx="sum")

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test/loss", ((self.net(x).squeeze(1) - y) ** 2).mean(), batch_size=len(y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Listening(Ranked):
    """Module that fails if its process listens beyond the loopback device."""

    def on_train_epoch_end(self):
        listening = [c.laddr.ip for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]
        self.log("num_listening", float(len(listening)))
        others = {address for address in listening if address not in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}}
        if others:
            raise RuntimeError(f"listens on {others}")


class Points(UserData):
    """Data of 41 points in batches of 4, so that the last batch is smaller and ranks have unequal shares."""

    def __init__(self):
        super().__init__(batch_size=4)

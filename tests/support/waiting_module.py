"""User module that waits for a file, so that several processes are training at once."""

import contextlib
import os
import time
from pathlib import Path

from fusable_module import Fusable
from user_module import UserModule


class Waits(UserModule):
    """Module that writes a file `began-<process>` in the folder, and continues once the file `go` exists."""

    def __init__(self, folder: str, width: int = 6, fails: str = ""):
        super().__init__(width=width, fails=fails)
        self.folder = Path(folder)

    def on_train_start(self):
        (self.folder / f"began-{os.getpid()}").touch()
        while not (self.folder / "go").exists():
            time.sleep(0.02)


class WaitsInAnEpoch(Fusable):
    """Module that, fused or not, waits in its second epoch until the file `go` exists in the folder.

    With `first_goes`, the first process does not wait. Each waiting process writes a file `waits-<process>`.
    """

    def __init__(self, folder: str, lr: float = 0.1, first_goes: bool = False):
        super().__init__(lr=lr)
        self.folder = Path(folder)
        self.first_goes = first_goes

    def training_step(self, batch, batch_idx):
        if self.current_epoch == 1:
            self._wait()
        return super().training_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        x, y = batch
        return {"correct": (self.net(x).squeeze(1) - y).abs() < 0.5}

    def _wait(self):
        first = self.folder / "first"
        if self.first_goes:
            with contextlib.suppress(FileExistsError), first.open("x") as file:
                file.write(str(os.getpid()))
            if first.read_text() == str(os.getpid()):
                return
        (self.folder / f"waits-{os.getpid()}").touch()
        while not (self.folder / "go").exists():
            time.sleep(0.02)


def waiting_study(folder, max_epochs=3, seeds=2, **arguments):
    """Make a study of `WaitsInAnEpoch` over learning rates, which are fused."""
    model = {"class_path": "waiting_module.WaitsInAnEpoch", "init_args": {"folder": str(folder), **arguments}}
    return {
        "question": "Does the learning rate matter?",
        "base": {
            "model": model,
            "data": {"class_path": "user_module.UserData"},
            "trainer": {"max_epochs": max_epochs, "accelerator": "cpu"},
        },
        "factors": {"lr": {"key": "model.init_args.lr", "levels": [0.05, 0.1], "reference": 0.1}},
        "seeds": seeds,
        "metric": {"name": "val/loss", "goal": "min"},
    }

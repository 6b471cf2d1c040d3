"""A user's module that trains only when it is told to, so that tests have several processes in training at once."""

import os
import time
from pathlib import Path

from user_module import UserModule


class Waits(UserModule):
    """Leaves a file `began-<process>` in the folder, and goes on once there is a file `go`."""

    def __init__(self, folder: str, width: int = 6, fails: str = ""):
        super().__init__(width=width, fails=fails)
        self.folder = Path(folder)

    def on_train_start(self):
        (self.folder / f"began-{os.getpid()}").touch()
        while not (self.folder / "go").exists():
            time.sleep(0.02)

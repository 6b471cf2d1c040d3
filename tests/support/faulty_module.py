"""User module with a fault in the middle of its second epoch, as long as a file exists."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from user_module import UserModule


class Faulty(UserModule):
    """Module whose `fault` occurs while `folder`/armed exists; faults that end in _once occur once, in one trial."""

    def __init__(self, fault: str = "", folder: str = "", width: int = 6):
        super().__init__(width=width)
        self.fault = fault
        self.folder = Path(folder)

    def training_step(self, batch, batch_idx):
        if self.fault and self.current_epoch == 1 and batch_idx == 1 and (self.folder / "armed").exists():
            name = self.fault.removesuffix("_once")
            if name == self.fault or self._is_first(name):
                getattr(self, f"_{name}")()
        return super().training_step(batch, batch_idx)

    def _is_first(self, name):
        try:
            (self.folder / f"fired-{name}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _kill(self):
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(30)

    def _kill_with_child(self):
        """Fork a child, which inherits all open files and survives, and kill this process."""
        if os.fork() == 0:
            time.sleep(3600)
            os._exit(0)
        self._kill()

    def _segfault(self):
        ctypes.string_at(0)

    def _raise(self):
        raise RuntimeError("the user's own error")

    def _raise_oddly(self):
        raise RuntimeError("no file caf\udce9")  # what os.fsdecode makes of a name in no encoding

    def _go_elsewhere(self):
        os.chdir("/")

    def _note_folder(self):
        with (self.folder / "folders").open("a") as file:
            file.write(f"{Path.cwd()}\n")

    def _hang(self):
        time.sleep(7200)

    def _spin(self):
        while True:
            pass

    def _exit(self):
        sys.exit("enough")

    def _leave(self):
        os._exit(0)

    def _fork(self):
        """Fork a child that continues the trial."""
        os.fork()

    def _print(self):
        print("a line" * 10_000)
        os.write(1, bytes(range(256)) * 100)
        os.write(2, b"to the other\n")
        subprocess.run(["echo", "from a child"], check=True)

    def _memory(self):
        """Raise a MemoryError by limiting the memory of the process."""
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 2**26, hard))
        try:
            self.eaten = [bytearray(2**24) for _ in range(64)]
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    def _eat(self):
        """Allocate up to 2 GB until the process is ended."""
        (self.folder / "eater").write_text(str(os.getpid()))
        self.eaten = []
        while len(self.eaten) < 128:
            self.eaten.append(torch.ones(2**22))
            time.sleep(0.02)


class SlowlyPaired(UserModule):
    """Module whose epochs take `seconds`, so that tests can interfere."""

    def __init__(self, seconds: float = 0.1, width: int = 6):
        super().__init__(width=width)
        self.seconds = seconds

    def on_train_epoch_start(self):
        time.sleep(self.seconds)

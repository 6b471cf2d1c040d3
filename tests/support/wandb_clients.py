"""Client processes of the stand-in server."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
from wandb_server import WandbServer


def client_environment(server: WandbServer, **more: str) -> dict[str, str]:
    """Return this process's variables without those of W&B, and the server's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return own | server.environment() | more


def run_client(
    server: WandbServer, *command: str | Path, check: bool = True, timeout: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a process in the server's folder; with `check`, its failure fails the test.

    Raises TimeoutExpired after `timeout` seconds, when the process and its children have been killed.
    """
    environment = client_environment(server, **variables)
    with subprocess.Popen(
        command, env=environment, cwd=server.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            # wandb-core may go on without its client for minutes, deaf to SIGTERM
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            raise
    if check:
        assert process.returncode == 0, f"{out}\n{err}"
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def run_python(
    server: WandbServer, code: str, *, check: bool = True, timeout: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python code as a client."""
    return run_client(server, sys.executable, "-c", code, check=check, timeout=timeout, **variables)

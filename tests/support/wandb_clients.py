"""Client processes of the loopback W&B server."""

import os
import subprocess
import sys
from pathlib import Path

from wandb_server import WandbServer


def client_environment(server: WandbServer, **more: str) -> dict[str, str]:
    """This process's variables without any of W&B's, and the server's."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return own | server.environment() | more


def run_client(
    server: WandbServer, *command: str | Path, check: bool = True, timeout: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A process in the server's folder that ran to its end; with `check`, one that fails fails the test."""
    done = subprocess.run(
        command,
        env=client_environment(server, **variables),
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check:
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def run_python(
    server: WandbServer, code: str, *, check: bool = True, timeout: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python code as a client."""
    return run_client(server, sys.executable, "-c", code, check=check, timeout=timeout, **variables)


def run_wandb(
    server: WandbServer, *arguments: str | Path, check: bool = True, timeout: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the `wandb` command as a client."""
    command = Path(sys.executable).with_name("wandb")
    return run_client(server, command, *arguments, check=check, timeout=timeout, **variables)

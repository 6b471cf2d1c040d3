"""Which devices this machine has, found without importing torch."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES writes them: numbers or UUIDs; empty without a GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip()]
        return () if "-1" in names else tuple(names)
    if not has_gpu_driver():
        return ()
    command = shutil.which("nvidia-smi")
    if command is None:
        return ("0",)  # a driver without its tools, as in some containers: torch will see at least one device
    listing = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    lines = [line for line in listing.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(number) for number in range(len(lines))) if listing.returncode == 0 else ()


def has_gpu_driver() -> bool:
    """Whether this machine has a driver for CUDA or ROCm at all."""
    if Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def num_cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Devices of this machine, found without importing torch."""

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """Devices that workers get, one each in turn: GPUs, or else cores that they are bound to, or neither.

    gpus: as in CUDA_VISIBLE_DEVICES: numbers, or UUIDs of GPUs or of their MIG instances.
    cores: numbers of CPU cores; empty where none were chosen.
    """

    gpus: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()


def find_devices(chosen: Sequence[str] | None = None) -> Devices:
    """Find the devices to use.

    Args:
        chosen: with GPUs, indices into the visible ones, as torch counts them, or UUIDs or their beginnings; without
            GPUs, numbers of cores. None: every visible GPU, or no core in particular.

    Raises:
        ValueError: a device is not there, or is named twice; the message lists those that are there.
    """
    gpus = find_gpus()
    if chosen is None:
        return Devices(gpus=gpus)
    if not chosen:
        raise ValueError("names no device")
    if gpus:
        return Devices(gpus=_check_unique([_match_gpu(name, gpus) for name in chosen], chosen))
    cores = tuple(str(core) for core in find_cores())
    for name in chosen:
        if name not in cores:
            raise ValueError(f"{name!r} is not there; without a GPU, devices are cores: {', '.join(cores)}")
    return Devices(cores=tuple(int(core) for core in _check_unique(list(chosen), chosen)))


def find_gpus() -> tuple[str, ...]:
    """Return the visible GPUs as in CUDA_VISIBLE_DEVICES: numbers or UUIDs; empty without a GPU."""
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
    return parse_gpu_list(listing.stdout) if listing.returncode == 0 else ()


def parse_gpu_list(listing: str) -> tuple[str, ...]:
    r"""Parse the output of `nvidia-smi -L`: a GPU's number, or the UUIDs of its instances where MIG divides it.

    A process can use only one MIG instance, and never the whole of a divided GPU.

    >>> parse_gpu_list("GPU 0: NVIDIA A (UUID: GPU-1)\nGPU 1: NVIDIA A (UUID: GPU-2)\n")
    ('0', '1')
    >>> parse_gpu_list("GPU 0: A (UUID: GPU-1)\n  MIG 3g.20gb Device 0: (UUID: MIG-5)\nGPU 1: A (UUID: GPU-2)\n")
    ('MIG-5', '1')
    """
    gpus: list[list[str]] = []
    for line in listing.splitlines():
        if line.startswith("GPU "):
            gpus.append([])
        elif gpus and (instance := re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)):
            gpus[-1].append(instance[1])
    return tuple(name for number, instances in enumerate(gpus) for name in (instances or [str(number)]))


def has_gpu_driver() -> bool:
    """Return True if this machine has a driver for CUDA or ROCm."""
    if Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def find_cores() -> tuple[int, ...]:
    """Return the numbers of the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _match_gpu(name: str, gpus: tuple[str, ...]) -> str:
    if name.isdecimal():
        if int(name) < len(gpus):
            return gpus[int(name)]
        raise ValueError(f"{name!r} is not there; the visible GPUs are counted from 0: {', '.join(gpus)}")
    matches = [gpu for gpu in gpus if name and gpu.startswith(name)]
    if len(matches) != 1:
        raise ValueError(f"{name!r} is not one of the visible GPUs: {', '.join(gpus)}")
    return matches[0]


def _check_unique(devices: list[str], chosen: Sequence[str]) -> tuple[str, ...]:
    if len(set(devices)) < len(devices):
        raise ValueError(f"{','.join(chosen)} names a device twice")
    return tuple(devices)

"""Which devices this machine has, found without importing torch."""

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
    """What workers are given, one each in turn: GPUs, or else cores that they are bound to, or nothing at all.

    gpus: as CUDA_VISIBLE_DEVICES writes them: numbers, or UUIDs of GPUs or of their MIG parts.
    cores: numbers of CPU cores, where somebody asked for these and no others.
    """

    gpus: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()


def find_devices(chosen: Sequence[str] | None = None) -> Devices:
    """The devices to use.

    Arguments:
        chosen: with GPUs, positions among the visible ones, as torch counts them, or UUIDs or their beginnings;
            without, numbers of cores. None: every visible GPU, or no core in particular.

    Raises:
        ValueError: a device is not there, or is named twice; the message says which there are.
    """
    gpus = visible_gpus()
    if chosen is None:
        return Devices(gpus=gpus)
    if not chosen:
        raise ValueError("names no device")
    if gpus:
        return Devices(gpus=_each_once([_gpu(name, gpus) for name in chosen], chosen))
    cores = tuple(str(core) for core in usable_cores())
    for name in chosen:
        if name not in cores:
            raise ValueError(f"{name!r} is not there; without a GPU, devices are cores: {_shown(cores)}")
    return Devices(cores=tuple(int(core) for core in _each_once(list(chosen), chosen)))


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
    return listed_gpus(listing.stdout) if listing.returncode == 0 else ()


def listed_gpus(listing: str) -> tuple[str, ...]:
    r"""The devices in what `nvidia-smi -L` prints: a GPU's number, or the UUIDs of its parts where MIG divides it.

    A process can use one MIG part only, and the whole of a divided GPU not at all.

    >>> listed_gpus("GPU 0: NVIDIA A (UUID: GPU-1)\nGPU 1: NVIDIA A (UUID: GPU-2)\n")
    ('0', '1')
    >>> listed_gpus("GPU 0: A (UUID: GPU-1)\n  MIG 3g.20gb Device 0: (UUID: MIG-5)\nGPU 1: A (UUID: GPU-2)\n")
    ('MIG-5', '1')
    """
    found: list[list[str]] = []
    for line in listing.splitlines():
        if line.startswith("GPU "):
            found.append([])
        elif found and (part := re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)):
            found[-1].append(part[1])
    return tuple(name for number, parts in enumerate(found) for name in (parts or [str(number)]))


def has_gpu_driver() -> bool:
    """Whether this machine has a driver for CUDA or ROCm at all."""
    if Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def usable_cores() -> tuple[int, ...]:
    """The numbers of the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _gpu(name: str, gpus: tuple[str, ...]) -> str:
    if name.isdecimal():
        if int(name) < len(gpus):
            return gpus[int(name)]
        raise ValueError(f"{name!r} is not there; the visible GPUs are counted from 0: {_shown(gpus)}")
    found = [gpu for gpu in gpus if name and gpu.startswith(name)]
    if len(found) != 1:
        raise ValueError(f"{name!r} is not one of the visible GPUs: {_shown(gpus)}")
    return found[0]


def _each_once(found: list[str], chosen: Sequence[str]) -> tuple[str, ...]:
    if len(set(found)) < len(found):
        raise ValueError(f"{','.join(chosen)} names a device twice")
    return tuple(found)


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names)

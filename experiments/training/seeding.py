"""Seeds of named random streams, and the global generators of torch, numpy and Python."""

import contextlib
import functools
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


def derive_seed(seed: int, *names: object) -> int:
    """Return the seed of a named stream: 32 bits of a hash of the trial's seed and the names.

    >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 1)
    True
    >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 2)
    False
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def seed_global_generators(seed: int) -> None:
    """Restart torch's (every device's), numpy's and Python's global generators."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- the global generator is what user code draws from
    seed_torch(seed)


def seed_torch(seed: int) -> None:
    """Seed torch. Without an accelerator, torch.manual_seed would take a millisecond to note the call for later."""
    if _has_accelerator():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@functools.cache
def _has_accelerator() -> bool:
    return torch.accelerator.is_available()


@dataclass(frozen=True, slots=True)
class GeneratorStates:
    """States of the global generators of torch (on the CPU), numpy and Python."""

    torch: torch.Tensor
    numpy: Any
    python: Any

    @classmethod
    def capture(cls) -> "GeneratorStates":
        """Return the current states."""
        return cls(torch.get_rng_state(), np.random.get_state(), random.getstate())  # noqa: NPY002

    def restore(self) -> None:
        """Set the generators to these states."""
        torch.set_rng_state(self.torch)
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)


@contextlib.contextmanager
def preserve_generators() -> Iterator[None]:
    """Restore the global generators after the block: torch's on every device in use, numpy's and Python's."""
    states = GeneratorStates.capture()
    on_cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    on_mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        if on_mps is not None:
            torch.mps.set_rng_state(on_mps)
        if on_cuda:
            torch.cuda.set_rng_state_all(on_cuda)
        states.restore()

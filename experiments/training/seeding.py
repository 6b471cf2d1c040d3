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


def derive(seed: int, *names: object) -> int:
    """The seed of a named stream: 32 bits, from a hash of the trial's seed and the names.

    >>> derive(0, "order", 1) == derive(0, "order", 1), derive(0, "order", 1) == derive(0, "order", 2)
    (True, False)
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def seed_global_generators(seed: int) -> None:
    """Restart torch's (every device's), numpy's and Python's global generators."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- the global generator is what user code draws from
    seed_torch(seed)


def seed_torch(seed: int) -> None:
    """As torch.manual_seed, which takes a millisecond where there is no accelerator: it notes the call for later."""
    if _has_accelerator():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@functools.cache
def _has_accelerator() -> bool:
    return torch.accelerator.is_available()


@dataclass(frozen=True, slots=True)
class GeneratorStates:
    """The states of the global generators of torch (on the CPU), numpy and Python."""

    torch: torch.Tensor
    numpy: Any
    python: Any

    @classmethod
    def now(cls) -> "GeneratorStates":
        """As they are."""
        return cls(torch.get_rng_state(), np.random.get_state(), random.getstate())  # noqa: NPY002

    def restore(self) -> None:
        """Put them back."""
        torch.set_rng_state(self.torch)
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Give the global generators back as they were: torch's on every device in use, numpy's and Python's."""
    states = GeneratorStates.now()
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

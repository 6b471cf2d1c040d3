"""Named random streams: one seed gives every source of randomness its own draws, whatever the model is.

Two trials with the same seed differ only by their levels, so their difference is a paired one:

- init: initial values are drawn per parameter name (`NamedDraws`), so adding, removing or resizing a layer leaves the
  initial values of all others unchanged;
- split, order, augmentation: what a data module draws comes from a stream that no model touches (`PairedStreams`),
  restarted for each epoch;
- dropout: what a model draws while it trains comes from a stream of its own.

This holds for any LightningModule and LightningDataModule that draw from torch's, numpy's or Python's global
generators, as stock Lightning code does. The shipped data modules do not need it: they draw from (seed, epoch) alone.
Layers that a module makes only in `setup` or `configure_model` are drawn in order of creation, not by name.
"""

import contextlib
import functools
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

Module = TypeVar("Module", bound=nn.Module)


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
    _seed_torch(seed)


def _seed_torch(seed: int) -> None:
    """As torch.manual_seed, which takes a millisecond where there is no accelerator: it notes the call for later."""
    if _has_accelerator():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@functools.cache
def _has_accelerator() -> bool:
    return torch.accelerator.is_available()


class NamedDraws:
    """Builds a module so that each of its parameters is drawn from a stream named after it.

    The module is built twice. The first time, every random draw is noted together with the tensors that are written
    from then on; a draw belongs to the first of them that ends up as a parameter or buffer. The second time, before
    draw k the global generator is restarted with the seed of (init, name of its parameter, number of the draw for this
    name). Nothing of the module's own code is replaced, so scaling, orthogonalising and zeroed rows stay as written.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def build(self, make: Callable[[], Module]) -> Module:
        """The module that `make` builds, with initial values drawn by name.

        Arguments:
            make: builds a fresh module at each call; it is called twice, in the same state of the global generators.
        """
        notes = _NotedDraws()
        self._restart()
        with notes:
            first = make()
        owners = notes.owners(first)
        del first
        notes.forget()
        self._restart()
        with _OwnedDraws(self.seed, owners):
            module = make()
        self._restart()
        return module

    def _restart(self) -> None:
        seed_global_generators(derive(self.seed, "init"))


def _is_draw(operator: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in operator.tags


class _NotedDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes, for each operator in turn, whether it draws and which storages it returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[tuple[bool, list[int]]] = []
        self.alive: list[torch.Tensor] = []  # keeps addresses unique until the owners are known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        tensors = [item for item in _flat(returned) if isinstance(item, torch.Tensor)]
        self.alive.extend(tensors)
        self.steps.append((_is_draw(func), [_address(tensor) for tensor in tensors]))
        return returned

    def owners(self, module: nn.Module) -> list[str]:
        """For each draw, in order, the name of the parameter or buffer that it is for; "" when there is none."""
        names = {
            _address(tensor): name
            for name, tensor in [*module.named_buffers(), *module.named_parameters()]
            if not nn.parameter.is_lazy(tensor)
        }
        owners: list[str] = []
        owner = ""
        for is_draw, addresses in reversed(self.steps):
            owner = next((names[address] for address in addresses if address in names), owner)
            if is_draw:
                owners.append(owner)
        return owners[::-1]

    def forget(self) -> None:
        """Let go of the tensors of the first module."""
        self.alive.clear()


class _OwnedDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Restarts the global generator before each draw with the seed of the parameter that the draw is for."""

    def __init__(self, seed: int, owners: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seed = seed
        self.owners = iter(owners)
        self.num_draws: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _is_draw(func):
            owner = next(self.owners, "")
            number = self.num_draws.get(owner, 0)
            self.num_draws[owner] = number + 1
            _seed_torch(derive(self.seed, "init", owner, number))
        return func(*args, **(kwargs or {}))


def _flat(returned: Any) -> list[Any]:
    return list(returned) if isinstance(returned, list | tuple) else [returned]


def _address(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 -- unlike data_ptr, also unique for empty and meta tensors


class PairedStreams(Callback):
    """Keeps what the data draws apart from what the model draws, so that data is the same for every model of a seed.

    At rest, the global generators (torch, numpy, Python) are in the model's state, so that whatever a module draws, in
    a step or in any hook, is its own; it restarts for each epoch. While a loader's iterator is made and a batch is
    fetched, they are in the data's state, which restarts for each training epoch and goes on through its validation.
    With worker processes in a DataLoader the data's draws happen there, seeded from the data's state.

    On a GPU, data that draws on the device shares the model's generator.

    Arguments:
        seed: of the trial.
        owner: the data module, or the module that brings its own dataloaders; its loaders are listened to.
    """

    def __init__(self, seed: int, owner: object) -> None:
        self.seed = seed
        self._data: GeneratorStates | None = None
        self._begun: GeneratorStates | None = None
        self._trainer: Trainer | None = None
        if getattr(owner, "uses_global_generators", True):
            for name in ("train", "val", "test"):
                self._listen(owner, f"{name}_dataloader", name)

    def start_split(self) -> None:
        """Call before `fit` and again before `test`: both call the data module's `setup`, which may draw a split."""
        seed_global_generators(derive(self.seed, "split"))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After the data module's setup, before the model's: what the model makes late comes from its own stream."""
        self._trainer = trainer
        seed_global_generators(derive(self.seed, "init", "late"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first epoch goes on from where its iterator was made, whatever was read since, as for pretraining."""
        self._data = self._begun or self._data

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The model's stream of this epoch begins, another on each device that the trial has."""
        more = [trainer.global_rank] if trainer.global_rank else []
        seed_global_generators(derive(self.seed, "dropout", trainer.current_epoch, *more))

    def read(self, loader_iter: Callable[[], Iterator[Any]], split: str) -> Iterator[Any]:
        """The batches of a loader, each fetched in the data's state."""
        if split == "train":
            epoch = 0 if self._trainer is None else self._trainer.current_epoch
            self._data = _states_of(derive(self.seed, "order", epoch))
        elif split == "test" or self._data is None:
            self._data = _states_of(derive(self.seed, "order", split))
        batches = _Fetching(self._on_data(loader_iter), self._on_data)
        if split == "train":
            self._begun = self._data
        return batches

    def _on_data(self, work: Callable[[], Any]) -> Any:
        models = GeneratorStates.now()
        if self._data is not None:
            self._data.restore()
        try:
            return work()
        finally:
            self._data = GeneratorStates.now()
            models.restore()

    def _listen(self, owner: object, method: str, split: str) -> None:
        base = LightningDataModule if isinstance(owner, LightningDataModule) else LightningModule
        original = getattr(owner, method, None)
        is_inherited = method not in vars(owner) and getattr(type(owner), method, None) is getattr(base, method)
        if original is None or is_inherited:
            return  # Lightning does without a loader that nobody wrote

        def dataloader() -> Any:
            return self._heard(original(), split)

        object.__setattr__(owner, method, dataloader)

    def _heard(self, loaders: Any, split: str) -> Any:
        """The same loaders, in lists and mappings as they were, whose iterators fetch in the data's state."""
        if isinstance(loaders, Mapping):
            return {name: self._heard(loader, split) for name, loader in loaders.items()}
        if isinstance(loaders, list | tuple):
            return [self._heard(loader, split) for loader in loaders]
        if isinstance(loaders, DataLoader):
            kind = type(loaders)

            def iterate(loader: Any) -> Iterator[Any]:
                return self.read(partial(kind.__iter__, loader), split)

            # The very loader, so that everything that looks at its class and attributes finds them.
            loaders.__class__ = type(kind.__name__, (kind,), {"__iter__": iterate, "__module__": kind.__module__})
        return loaders


class _Fetching:
    """An iterator that fetches each batch as it is told."""

    def __init__(self, batches: Iterator[Any], on_data: Callable[[Callable[[], Any]], Any]) -> None:
        self._batches = batches
        self._on_data = on_data

    def __iter__(self) -> "_Fetching":
        return self

    def __next__(self) -> Any:
        return self._on_data(partial(next, self._batches))


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


def _states_of(seed: int) -> GeneratorStates:
    """The states right after seeding, without touching the generators' own."""
    before = GeneratorStates.now()
    seed_global_generators(seed)
    states = GeneratorStates.now()
    before.restore()
    return states

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

import hashlib
import random
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

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
    torch.manual_seed(seed)


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
            torch.manual_seed(derive(self.seed, "init", owner, number))
        return func(*args, **(kwargs or {}))


def _flat(returned: Any) -> list[Any]:
    return list(returned) if isinstance(returned, list | tuple) else [returned]


def _address(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 -- unlike data_ptr, also unique for empty and meta tensors


class PairedStreams(Callback):
    """Keeps what the data draws apart from what the model draws, so that data is the same for every model of a seed.

    Two states of the global generators take turns: the data's (split, order, augmentation; restarted for each epoch)
    and, from the start to the end of each training step, the model's (dropout). With worker processes in a DataLoader
    the data's draws happen there, seeded from the data's stream.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._waiting: torch.Tensor | None = None

    def start_split(self) -> None:
        """Call before `fit` and again before `test`: both call the data module's `setup`, which may draw a split."""
        seed_global_generators(derive(self.seed, "split"))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After the data module's setup, before the model's: what the model makes late comes from its own stream."""
        seed_global_generators(derive(self.seed, "init", "late"))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The iterator of the first epoch is made next."""
        self._start_epoch(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The iterators of later epochs are made after this hook."""
        if trainer.current_epoch > 0:
            self._start_epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is there; from here on the model draws."""
        self._take_turns()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done; from here on the data draws."""
        self._take_turns()

    def _start_epoch(self, epoch: int) -> None:
        generator = torch.Generator().manual_seed(derive(self.seed, "dropout", epoch))
        self._waiting = generator.get_state()
        seed_global_generators(derive(self.seed, "order", epoch))
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(derive(self.seed, "dropout", epoch))  # batches are drawn on the CPU

    def _take_turns(self) -> None:
        if self._waiting is not None:
            now = torch.get_rng_state()
            torch.set_rng_state(self._waiting)
            self._waiting = now

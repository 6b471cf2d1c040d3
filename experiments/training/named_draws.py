"""Initial values drawn by the name of the parameter, for any module, without a change of its code."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from .seeding import derive, seed_global_generators, seed_torch

Module = TypeVar("Module", bound=nn.Module)


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
            seed_torch(derive(self.seed, "init", owner, number))
        return func(*args, **(kwargs or {}))


def _flat(returned: Any) -> list[Any]:
    return list(returned) if isinstance(returned, list | tuple) else [returned]


def _address(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 -- unlike data_ptr, also unique for empty and meta tensors

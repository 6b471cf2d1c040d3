"""Initial values drawn by the name of the parameter, for any module and without a change of its code."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from .seeding import derive_seed, seed_global_generators, seed_torch

Module = TypeVar("Module", bound=nn.Module)


class NamedDraws:
    """Builder of modules in which each parameter is drawn from a stream named after it.

    A module is built twice. The first time, every random draw is recorded together with the tensors that are written
    after it; a draw belongs to the first of them that becomes a parameter or buffer. The second time, the global
    generator is restarted before each draw with the seed of (init, name of its parameter, number of the draw for this
    name). The module's own code is not replaced, so scaling, orthogonalisation and zeroed rows are kept.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def build(self, make: Callable[[], Module]) -> Module:
        """Return the module that a function builds, with initial values drawn by name.

        Args:
            make: builds a new module; it is called twice, in the same state of the global generators.
        """
        recorder = _DrawRecorder()
        self._restart()
        with recorder:
            first = make()
        owners = recorder.find_owners(first)
        del first
        recorder.free()
        self._restart()
        with _SeededDraws(self.seed, owners):
            module = make()
        self._restart()
        return module

    def _restart(self) -> None:
        seed_global_generators(derive_seed(self.seed, "init"))


def _is_draw(operator: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in operator.tags


class _DrawRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record of each operator: whether it draws, and which storages it returns."""

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

    def find_owners(self, module: nn.Module) -> list[str]:
        """Return the name of the parameter or buffer of each draw, in order; "" if there is none."""
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

    def free(self) -> None:
        """Free the tensors of the first module."""
        self.alive.clear()


class _SeededDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Restart of the global generator before each draw, with the seed of the draw's parameter."""

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
            seed_torch(derive_seed(self.seed, "init", owner, number))
        return func(*args, **(kwargs or {}))


def _flat(returned: Any) -> list[Any]:
    return list(returned) if isinstance(returned, list | tuple) else [returned]


def _address(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 -- unlike data_ptr, also unique for empty and meta tensors

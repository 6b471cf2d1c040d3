"""Where a loss leaves double precision, as far as torch's functions show it; `Slope` sees the rest by its steps."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_BYTES_OF_DOUBLE = 8


class Precision(TorchFunctionMode):
    """Notes the functions that make numbers of less than double precision of what depends on a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[tuple[Any, str]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if _is_less(made) and made.grad_fn is not None:
            self._made.append((made.grad_fn, f"{getattr(func, '__name__', func)} makes {made.dtype}"))
        return made

    def lost_in(self, loss: Tensor) -> str | None:
        """The first of them that the loss is made of; None where it is double all the way, or nothing shows.

        What is only logged may have any precision.
        """
        nodes = _nodes_of(loss)
        first = next((text for node, text in self._made if node in nodes), None)
        return first or (f"it is {loss.dtype}" if loss.dtype != torch.float64 else None)


def _is_less(made: Any) -> bool:
    return isinstance(made, Tensor) and made.is_floating_point() and made.element_size() < _BYTES_OF_DOUBLE


def _nodes_of(loss: Tensor) -> set[Any]:
    found: set[Any] = set()
    to_visit = [loss.grad_fn]
    while to_visit:
        node = to_visit.pop()
        if node is not None and node not in found:
            found.add(node)
            to_visit.extend(following for following, _ in node.next_functions)
    return found

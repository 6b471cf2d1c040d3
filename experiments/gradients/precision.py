"""Detection of less than double precision in a loss, if torch's functions show it; `Slope` finds the rest."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DOUBLE_BYTES = 8


class PrecisionRecorder(TorchFunctionMode):
    """Record of functions whose result depends on a parameter and has less than double precision."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[tuple[Any, str]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if _has_less_precision(output) and output.grad_fn is not None:
            self._found.append((output.grad_fn, f"{getattr(func, '__name__', func)} returns {output.dtype}"))
        return output

    def find_function(self, loss: Tensor) -> str | None:
        """Find the first of these functions that a loss depends on; None if there is none.

        Values that are only logged may have any precision.
        """
        nodes = _find_graph_nodes(loss)
        first = next((text for node, text in self._found if node in nodes), None)
        return first or (f"it is {loss.dtype}" if loss.dtype != torch.float64 else None)


def _has_less_precision(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.element_size() < _DOUBLE_BYTES


def _find_graph_nodes(loss: Tensor) -> set[Any]:
    nodes: set[Any] = set()
    to_visit = [loss.grad_fn]
    while to_visit:
        node = to_visit.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            to_visit.extend(following for following, _ in node.next_functions)
    return nodes

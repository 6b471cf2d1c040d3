"""Order of metrics, with those of a network's layers in the order of data flow.

`mechanism/<quantity>/<layer>` is a metric of a layer, `mechanism/<name>` a metric of a whole network. `gap/<name>` is
the generalisation gap: how much worse a metric is on validation data than on training data.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from experiments.study.mechanisms import MECHANISM, split_metric


def sort_metrics(metrics: Iterable[str], networks: Sequence[Sequence[str]]) -> list[str]:
    """Sort metrics alphabetically, and the metrics of one quantity in the order of the layers.

    Args:
        metrics: the names.
        networks: the names in the order of data flow, one list per kind of network. Layers in none of them are sorted
            by name, with numbers in numerical order.

    >>> sort_metrics(["val/acc", "mechanism/dead/relu10", "mechanism/dead/relu2"], [])
    ['mechanism/dead/relu2', 'mechanism/dead/relu10', 'val/acc']
    >>> shallow, deep = (["mechanism/dead/" + name for name in names] for names in ("ax", "abcx"))
    >>> sort_metrics({*shallow, *deep}, [shallow, deep])[-2:]
    ['mechanism/dead/c', 'mechanism/dead/x']
    """
    names = list(metrics)
    orders: dict[str, list[list[str]]] = defaultdict(list)  # quantity -> the layers of each network
    for network in networks:
        layers: dict[str, list[str]] = defaultdict(list)
        for name in network:
            if parts := split_metric(name):
                layers[parts[0]].append(parts[1])
        for quantity, order in layers.items():
            orders[quantity].append(order)
    ranks = {quantity: _merge_orders(order) for quantity, order in orders.items()}

    def key(name: str) -> tuple[str, float, list[tuple[int, str]], str]:
        parts = split_metric(name)
        if parts is None:
            return name, 0, [], name
        quantity, layer = parts
        return f"{MECHANISM}{quantity}/", _rank(ranks, quantity, layer), _split_numbers(layer), name

    return sorted(names, key=key)


def _rank(ranks: Mapping[str, Mapping[str, int]], quantity: str, layer: str) -> float:
    return ranks.get(quantity, {}).get(layer, float("inf"))


def _merge_orders(orders: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the rank of each name in a common order: a topological sort that tolerates contradictions."""
    first_seen = {name: rank for rank, name in enumerate(dict.fromkeys(name for order in orders for name in order))}
    before: dict[str, set[str]] = {name: set() for name in first_seen}
    for order in orders:
        for previous, name in pairwise(order):
            before[name].add(previous)
    ranks: dict[str, int] = {}
    remaining = dict(first_seen)
    while remaining:
        free = [name for name in remaining if before[name] <= ranks.keys()]
        following = min(free or remaining, key=first_seen.__getitem__)  # none is free if two orders contradict
        ranks[following] = len(ranks)
        del remaining[following]
    return ranks


def _split_numbers(layer: str) -> list[tuple[int, str]]:
    """Split a name into numbers and texts, so that layer10 sorts after layer9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", layer)]

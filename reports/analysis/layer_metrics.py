"""Names of metrics that tell what happens inside a network, and the order in which data flow through its layers.

`mechanism/<quantity>/<layer>` is of a layer, `mechanism/<name>` of a whole network, and `gap/<name>` is how much worse
a metric is on validation data than on training data.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from experiments.study.mechanisms import MECHANISM, split_metric


def sort_metrics(metrics: Iterable[str], told: Sequence[Sequence[str]]) -> list[str]:
    """Metrics in alphabetical order, those of one quantity in the order of its layers.

    Arguments:
        metrics: the names.
        told: the names in the order in which networks told them, a list for each kind of network. Where they say
            nothing, numbers in the names of layers count as numbers.

    >>> sort_metrics(["val/acc", "mechanism/dead/relu10", "mechanism/dead/relu2"], [])
    ['mechanism/dead/relu2', 'mechanism/dead/relu10', 'val/acc']
    >>> shallow, deep = (["mechanism/dead/" + name for name in names] for names in ("ax", "abcx"))
    >>> sort_metrics({*shallow, *deep}, [shallow, deep])[-2:]
    ['mechanism/dead/c', 'mechanism/dead/x']
    """
    names = list(metrics)
    orders: dict[str, list[list[str]]] = defaultdict(list)  # quantity -> the layers of each network
    for network in told:
        layers: dict[str, list[str]] = defaultdict(list)
        for name in network:
            if found := split_metric(name):
                layers[found[0]].append(found[1])
        for quantity, order in layers.items():
            orders[quantity].append(order)
    places = {quantity: _places(order) for quantity, order in orders.items()}

    def key(name: str) -> tuple[str, float, list[tuple[int, str]], str]:
        found = split_metric(name)
        if found is None:
            return name, 0, [], name
        quantity, layer = found
        return f"{MECHANISM}{quantity}/", _place(places, quantity, layer), _numbered(layer), name

    return sorted(names, key=key)


def _place(places: Mapping[str, Mapping[str, int]], quantity: str, layer: str) -> float:
    return places.get(quantity, {}).get(layer, float("inf"))


def _places(orders: Sequence[Sequence[str]]) -> dict[str, int]:
    """The place of each name in one order that agrees with all of these, as far as they agree with each other."""
    first_seen = {name: place for place, name in enumerate(dict.fromkeys(name for order in orders for name in order))}
    before: dict[str, set[str]] = {name: set() for name in first_seen}
    for order in orders:
        for place, name in enumerate(order[1:]):
            before[name].add(order[place])
    placed: dict[str, int] = {}
    waiting = dict(first_seen)
    while waiting:
        free = [name for name in waiting if before[name] <= placed.keys()]
        chosen = min(free or waiting, key=first_seen.__getitem__)  # none is free where two orders contradict each other
        placed[chosen] = len(placed)
        del waiting[chosen]
    return placed


def _numbered(layer: str) -> list[tuple[int, str]]:
    """A name as its parts, so that layer10 comes after layer9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", layer)]

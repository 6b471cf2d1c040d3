"""Dotted keys of a configuration: `model.init_args.hidden`, `trainer.callbacks.0.init_args.patience`."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any


class KeyPathError(ValueError):
    """Error for a dotted key that leads through a value without such a part."""


def set_key(config: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted key, in place. Missing mappings on its path are created; list items must exist.

    Raises:
        KeyPathError: when the path leads through a number, a text, or past the end of a list.

    >>> config = {"model": {"class_path": "lit_models.MLP"}}
    >>> set_key(config, "model.init_args.hidden", [64])
    >>> config
    {'model': {'class_path': 'lit_models.MLP', 'init_args': {'hidden': [64]}}}
    """
    *path, last = key.split(".")
    node: Any = config
    for depth, part in enumerate(path):
        if isinstance(node, dict):
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
        else:
            node = _get_item(node, part, ".".join(path[:depth]))
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list):
        _get_item(node, last, ".".join(path))
        node[int(last)] = value
    else:
        _get_item(node, last, ".".join(path))


def apply_changes(config: Mapping[str, Any], changes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a copy of a configuration with dotted keys set, shorter keys first, so that a model can be replaced.

    >>> apply_changes({"model": 1}, [("model.a.b", 2), ("model", {"a": {}})])
    {'model': {'a': {'b': 2}}}
    """
    changed = copy.deepcopy(dict(config))
    for key, value in sorted(changes, key=lambda change: change[0].count(".")):
        set_key(changed, key, copy.deepcopy(value))
    return changed


def _get_item(node: Any, part: str, so_far: str) -> Any:
    if isinstance(node, list):
        if part.isdigit() and int(part) < len(node):
            return node[int(part)]
        raise KeyPathError(f"{so_far} is a list of {len(node)}; {part!r} is not one of its positions")
    raise KeyPathError(f"{so_far} is {node!r}, which has no part {part!r}")

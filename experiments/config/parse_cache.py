"""Parsing many sections that differ in a few arguments: each value of an argument is parsed once, not each mixture.

A parser reads each argument of a class by itself, so what a mixture parses to can be put together from what its
arguments parse to. That is not taken on trust: the first section with the same class and the same argument names is the
template, and each further value is parsed in its place, which must change nothing but this argument. The first mixture
of the same arguments is parsed whole too, and must be what was put together. Where something differs, all is parsed
whole from then on. A grid of 10 x 10 x 10 cells costs 32 parses, of 10 ms or more, instead of 1,000.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any

MOST_VALUES = 10_000  # of the arguments of a template; beyond that, mixtures are parsed whole

_CLASS = {"class_path", "init_args"}
_OF_CLASSES = {*_CLASS, "dict_kwargs"}


@dataclass(slots=True)
class _Template:
    """The first section of its kind. `parsed` is None where mixtures have to be parsed whole.

    values: what a value parses to, by its argument's name and its text.
    proven: sets of arguments of which a mixture was parsed whole, and was what is put together.
    """

    arguments: Mapping[str, Any]
    texts: Mapping[str, str]
    parsed: Any
    values: dict[tuple[str, str], Any] = field(default_factory=dict)
    proven: set[frozenset[str]] = field(default_factory=set)


class Substitution:
    """Parses as `parse` does, and raises what it raises.

    Arguments:
        parse: from a section's name and content, as plain data, to a Namespace with the parsed section.
        namespace: the class of what is parsed; it has a `clone`.
    """

    def __init__(self, parse: Callable[[str, Any], Any], namespace: type) -> None:
        self._parse = parse
        self._namespace = namespace
        self._templates: dict[tuple[str, str, tuple[str, ...]], _Template] = {}

    def forget(self) -> None:
        """Begin again: classes may have been defined anew."""
        self._templates.clear()

    def __call__(self, section: str, content: Any) -> Any:
        """A Namespace with the parsed section, which belongs to all who ask for it: not to be changed."""
        arguments = _arguments(content)
        try:
            texts = {name: json.dumps(value) for name, value in arguments.items()}
        except (TypeError, ValueError, AttributeError):  # not a mapping of plain data
            return self._parse(section, content)
        key = (section, str(content.get("class_path")), tuple(texts))
        template = self._templates.get(key)
        if template is None:
            arguments = copy.deepcopy(arguments)
            parsed = self._parse(section, content)
            self._templates[key] = _Template(arguments, texts, parsed if _is_plain(parsed, self._namespace) else None)
            return parsed
        changed = {name: text for name, text in texts.items() if text != template.texts[name]}
        for name, text in changed.items():
            if (name, text) not in template.values:
                self._learn(template, section, content, name, text)
        if template.parsed is None or any(item not in template.values for item in changed.items()):
            return self._parse(section, content)
        parsed = template.parsed.clone() if changed else template.parsed
        for name, text in changed.items():
            _arguments(parsed[section])[name] = template.values[name, text]
        if len(changed) > 1 and (names := frozenset(changed)) not in template.proven:
            whole = self._parse(section, content)
            if whole != parsed:
                template.parsed = None
            template.proven.add(names)
            return whole
        return parsed

    def _learn(self, template: _Template, section: str, content: Any, name: str, text: str) -> None:
        """Parse the template with one argument's value as in the content, and keep what this value parses to."""
        if template.parsed is None or len(template.values) >= MOST_VALUES:
            return
        arguments = copy.deepcopy({**template.arguments, name: _arguments(content)[name]})
        try:
            parsed = self._parse(section, {**content, "init_args": arguments} if _is_class(content) else arguments)
        except Exception:  # noqa: BLE001 -- the content itself is parsed next, and raises what there is to raise
            return
        expected = template.parsed.clone()
        value = _arguments(expected[section])[name] = _arguments(parsed[section])[name]
        if parsed == expected and _is_plain(value, self._namespace):
            template.values[name, text] = value
        else:
            template.parsed = None


def _is_class(content: Any) -> bool:
    return set(content) == _CLASS


def _arguments(content: Any) -> Any:
    """The arguments in a section, parsed or not: a class's init_args, else all of it; None where that is unclear."""
    keys = set(content) if isinstance(content, dict) else set(vars(content)) if hasattr(content, "__dict__") else None
    if keys is None or (keys & _OF_CLASSES and keys != _CLASS):
        return None
    return content["init_args"] if keys == _CLASS else content


def _is_plain(value: Any, namespace: type) -> bool:
    """Whether a clone of a parsed value, which copies lists and mappings, shares nothing with it that can change."""
    if isinstance(value, namespace):
        value = vars(value)
    if type(value) in {list, dict}:
        return all(_is_plain(item, namespace) for item in (value.values() if isinstance(value, dict) else value))
    if isinstance(value, tuple):
        return all(not isinstance(x, list | dict | namespace) and _is_plain(x, namespace) for x in value)
    constant = bool | int | float | str | Enum | type | FunctionType | BuiltinFunctionType
    return value is None or isinstance(value, constant)

"""Parser and executor for the part of GraphQL that W&B's clients use.

Objects are dicts; a value may be a function of the field's arguments. What a query asks for and an object does not have
is answered with null and told to `missing`, so that a test can say that nothing was missing.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r'(?P<text>"""(?:.|\n)*?"""|"(?:\\.|[^"\\])*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[_A-Za-z]\w*)"
    r"|(?P<mark>\.\.\.|[!$()\[\]{}:=@|&])"
    r"|(?P<space>[\s,\ufeff]+|\#[^\n]*)"
)


Node = dict[str, Any]


class GraphqlError(Exception):
    """Error that is answered in `errors`, with its HTTP status."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Field with its alias, or (`name` "...") a fragment, inline or by the name in `fragment`."""

    name: str
    alias: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    directives: dict[str, dict[str, Any]] = field(default_factory=dict)
    selections: tuple["Selection", ...] = ()
    condition: str = ""
    fragment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Operation of a request, with the fragments that it uses."""

    kind: str
    name: str
    defaults: dict[str, Any]
    selections: tuple[Selection, ...]
    fragments: dict[str, Selection]


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str


def parse(text: str) -> Document:
    """Return the operation in `text`. Raise ValueError if it is not GraphQL."""
    return _Parser(text).document()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def document(self) -> Document:
        kind, name, defaults, fragments = "query", "", {}, {}
        selections: tuple[Selection, ...] = ()
        while self._peek():
            if self._peek() == "fragment":
                self._next()
                fragment = self._next()
                self._expect("on")
                fragments[fragment] = Selection(name="...", condition=self._next(), selections=self._selections())
            else:
                if self._peek() != "{":
                    kind = self._next()
                    name = "" if self._peek() in ("(", "{") else self._next()
                    defaults = self._variable_defaults()
                selections = self._selections()
        return Document(kind=kind, name=name, defaults=defaults, selections=selections, fragments=fragments)

    def _variable_defaults(self) -> dict[str, Any]:
        defaults = {}
        if self._take("("):
            while not self._take(")"):
                self._expect("$")
                name = self._next()
                self._expect(":")
                while self._peek() not in ("=", "$", ")"):
                    self._next()  # the type
                if self._take("="):
                    defaults[name] = self._value()
        return defaults

    def _selections(self) -> tuple[Selection, ...]:
        selections = []
        if self._take("{"):
            while not self._take("}"):
                selections.append(self._selection())
        return tuple(selections)

    def _selection(self) -> Selection:
        if self._take("..."):
            condition = fragment = ""
            if self._take("on"):
                condition = self._next()
            elif self._peek() not in ("{", "@"):
                fragment = self._next()
            directives = self._directives()
            return Selection(
                name="...",
                condition=condition,
                fragment=fragment,
                directives=directives,
                selections=() if fragment else self._selections(),
            )
        alias = name = self._next()
        if self._take(":"):
            name = self._next()
        arguments = self._arguments()
        directives = self._directives()
        return Selection(
            name=name, alias=alias, arguments=arguments, directives=directives, selections=self._selections()
        )

    def _arguments(self) -> dict[str, Any]:
        arguments = {}
        if self._take("("):
            while not self._take(")"):
                name = self._next()
                self._expect(":")
                arguments[name] = self._value()
        return arguments

    def _directives(self) -> dict[str, dict[str, Any]]:
        directives = {}
        while self._take("@"):
            name = self._next()
            directives[name] = self._arguments()
        return directives

    def _value(self) -> Any:
        kind, token = self._tokens[self._at]
        self._at += 1
        match kind, token:
            case "mark", "$":
                return _Variable(self._next())
            case "mark", "[":
                items = []
                while not self._take("]"):
                    items.append(self._value())
                return items
            case "mark", "{":
                members = {}
                while not self._take("}"):
                    name = self._next()
                    self._expect(":")
                    members[name] = self._value()
                return members
            case "text", _:
                return token.strip('"').encode().decode("unicode_escape")
            case "number", _:
                return float(token) if re.search(r"[.eE]", token) else int(token)
        return {"true": True, "false": False, "null": None}.get(token, token)

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        if self._at == len(self._tokens):
            raise ValueError("the GraphQL text ends too early")
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _take(self, token: str) -> bool:
        taken = self._peek() == token
        self._at += taken
        return taken

    def _expect(self, token: str) -> None:
        if (found := self._next()) != token:
            raise ValueError(f"GraphQL: {token!r} expected, {found!r} found")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"not GraphQL: {text[at : at + 20]!r}")
        at = match.end()
        if match.lastgroup and match.lastgroup != "space":
            yield match.lastgroup, match.group()


def execute(
    document: Document, variables: dict[str, Any], root: dict[str, Any], missing: Callable[[str], None]
) -> dict[str, Any]:
    """Answer `document` field by field from `root`; call `missing` with each unknown field."""
    return _Execution(document, document.defaults | variables, missing).answer(root, document.selections, "")


@dataclass(frozen=True, slots=True)
class _Execution:
    document: Document
    variables: dict[str, Any]
    missing: Callable[[str], None]

    def answer(self, owner: dict[str, Any], selections: tuple[Selection, ...], path: str) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for selection in selections:
            if not self._included(selection):
                continue
            if selection.name != "...":
                place = f"{path}.{selection.name}" if path else selection.name
                value = self._field(owner, selection, place)
                answer[selection.alias] = _merged(answer.get(selection.alias), value)
                continue
            fragment = self.document.fragments[selection.fragment] if selection.fragment else selection
            if fragment.condition in ("", owner.get("__typename", fragment.condition), *owner.get("__interfaces", ())):
                answer = _merged(answer, self.answer(owner, fragment.selections, path))
        return answer

    def _field(self, owner: dict[str, Any], selection: Selection, path: str) -> Any:
        if selection.name not in owner:
            self.missing(path)
            return None
        value = owner[selection.name]
        if callable(value):
            value = value(self._known(selection.arguments))
        return self._complete(value, selection, path)

    def _complete(self, value: Any, selection: Selection, path: str) -> Any:
        if isinstance(value, list):
            return [self._complete(item, selection, path) for item in value]
        if isinstance(value, dict) and selection.selections:
            return self.answer(value, selection.selections, path)
        return value

    def _included(self, selection: Selection) -> bool:
        include = self._known(selection.directives.get("include", {})).get("if", True)
        return include and not self._known(selection.directives.get("skip", {})).get("if", False)

    def _known(self, value: Any) -> Any:
        if isinstance(value, _Variable):
            return self.variables.get(value.name)
        if isinstance(value, dict):
            return {key: self._known(item) for key, item in value.items()}
        return [self._known(item) for item in value] if isinstance(value, list) else value


def _merged(one: Any, other: Any) -> Any:
    """Merge two selections of one field."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {key: _merged(one.get(key), value) for key, value in other.items()}
    if isinstance(one, list) and isinstance(other, list):
        return [_merged(*pair) for pair in zip(one, other, strict=True)]
    return other


def or_none(found: Any, node: Callable[[Any], Node]) -> Node | None:
    """Return the node of an item, or None without an item."""
    return None if found is None else node(found)


def connection(items: list[Any], node: Callable[[Any], Node], arguments: dict[str, Any]) -> Node:
    """Return a page of `first` nodes after the cursor `after`, the number of the last node of the page before."""
    start = int(arguments.get("after") or 0)
    end = min(len(items), start + (arguments.get("first") or len(items)))
    edges = [{"node": node(items[place]), "cursor": str(place + 1)} for place in range(start, end)]
    page = {"__typename": "PageInfo", "endCursor": str(end), "hasNextPage": end < len(items)}
    return {"edges": edges, "pageInfo": page, "totalCount": len(items)}

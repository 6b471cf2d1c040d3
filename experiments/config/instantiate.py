"""Conversion of configurations to objects and back, through jsonargparse, which no other file imports.

A configuration has LightningCLI's sections model, data and trainer. `find_problems` returns everything that the classes
named there do not accept, `resolve` fills in all defaults, and `make_data`, `make_model` and `make_trainer_arguments`
build objects.
"""

import difflib
import functools
import importlib
import inspect
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePosixPath, PureWindowsPath
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser

from ablation_suite.names import NameClashError, find_hidden
from experiments.errors import Problem
from experiments.text import describe_choices

from .parse_cache import ParseCache, Section

LINKED = ("input_shape", "num_classes", "num_outputs", "vocabulary_size")
"""Arguments of models that are taken from the data module where the configuration has null."""

_BASES: dict[str, type] = {"model": LightningModule, "data": LightningDataModule}
_EMPTY = tuple(Section.of(kind, None) for kind in _BASES)


@functools.cache
def find_problems(section: Section) -> tuple[Problem, ...]:
    """Return what is wrong with one section; `where` is the key path that begins with the section's kind."""
    kind, value = section.kind, section.content
    if kind == "trainer":
        if value is not None and not isinstance(value, dict):
            return (Problem(where="trainer", what=f"is {value!r}; a mapping of Trainer arguments is expected"),)
        problems = _argument_problems("trainer", Trainer, "the Trainer", value or {})
        problems += _folder_problems(value or {})
        problems += _num_nodes_problems(value or {})
    elif value is None:
        if kind == "data":
            return ()  # a LightningModule may have its own dataloaders
        return (Problem(where=kind, what="is missing; {class_path, init_args} of a LightningModule is expected"),)
    else:
        problems = _class_problems(kind, value, _BASES[kind])
    if not problems:
        try:
            _cache.parse(section)
        except ArgumentError as error:
            problems = [Problem(where=kind, what=_summarize(error))]
    return tuple(problems)


@functools.cache
def resolve(section: Section) -> Any:
    """Return a section without problems as plain data, with every default filled in. Callers share it."""
    return None if section in _EMPTY else _to_plain(_cache.parse(section))[section.kind]


def clear_caches() -> None:
    """Forget all sections, since their classes may have been redefined."""
    _cache.clear()
    for function in (find_problems, resolve, _value_problem):
        function.cache_clear()


def make_data(config: Mapping[str, Any]) -> LightningDataModule | None:
    """Build the data module of a resolved configuration; return None where the model has its own dataloaders."""
    if config.get("data") is None:
        return None
    data = _instantiate("data", config["data"])
    if not isinstance(data, LightningDataModule):
        raise TypeError(f"data: {type(data).__name__} is not a LightningDataModule")
    return data


def make_model(config: Mapping[str, Any], data: LightningDataModule | None) -> LightningModule:
    """Build the model of a resolved configuration, with null `LINKED` arguments taken from the data module."""
    spec = config["model"]
    init_args = dict(spec.get("init_args") or {})
    for name in LINKED:
        if name in init_args and init_args[name] is None and (found := getattr(data, name, None)) is not None:
            init_args[name] = list(found) if isinstance(found, tuple) else found
    model = _instantiate("model", {**spec, "init_args": init_args})
    if not isinstance(model, LightningModule):
        raise TypeError(f"model: {type(model).__name__} is not a LightningModule")
    return model


def make_trainer_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Build the keyword arguments for Trainer, with callbacks, loggers and plugins."""
    return dict(vars(_instantiate("trainer", config.get("trainer") or {})))


def _instantiate(kind: str, content: Any) -> Any:
    try:
        section = Section.of(kind, content)
    except TypeError:  # not plain data, such as a NumPy integer that a data module gives
        namespace = _parse(kind, content)
    else:
        namespace = _cache.parse(section)
    try:
        return _parser(kind).instantiate(namespace)[kind]
    except ValueError as error:
        cause = error.__cause__ or error.__context__
        if cause is None:
            raise
        raise cause from None  # the message of the class, without jsonargparse's page around it


def _parse(kind: str, content: Any) -> Namespace:
    parsed: Namespace = _parser(kind).parse_object({kind: {} if content is None else content})
    return parsed


_cache = ParseCache(_parse, Namespace)


def _to_plain(value: Any) -> Any:
    """Convert a parsed value to plain data that the parser reads back; jsonargparse cannot dump every enum."""
    if isinstance(value, Namespace):
        return {name: _to_plain(item) for name, item in vars(value).items()}
    if isinstance(value, dict):
        return {str(name): _to_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else str(value)


@functools.cache
def _parser(kind: str) -> ArgumentParser:
    parser = LightningArgumentParser(exit_on_error=False)
    if kind == "trainer":
        parser.add_lightning_class_args(Trainer, "trainer")
    else:
        parser.add_lightning_class_args(_BASES[kind], kind, subclass_mode=True, required=True)
    return parser


def _folder_problems(trainer: Mapping[str, Any]) -> list[Problem]:
    """Reject a folder outside the trial's folder, where trials would overwrite each other's files."""
    folder = trainer.get("default_root_dir")
    if not isinstance(folder, str) or not (
        "://" in folder
        or PurePosixPath(folder).is_absolute()
        or PureWindowsPath(folder).is_absolute()
        or PureWindowsPath(folder).drive
        or ".." in PureWindowsPath(folder).parts
    ):
        return []
    what = f"is {folder!r}; a folder within the trial's folder is expected, such as checkpoints"
    return [Problem(where="trainer.default_root_dir", what=what)]


def _num_nodes_problems(trainer: Mapping[str, Any]) -> list[Problem]:
    """Reject several machines: nothing starts the processes on the others, and the first would wait for them."""
    num_nodes = trainer.get("num_nodes", 1)
    if num_nodes in (None, 1):
        return []
    what = f"is {num_nodes!r}; 1 is expected: a trial trains on the devices of one machine, and Ray spreads trials"
    return [Problem(where="trainer.num_nodes", what=what)]


def _class_problems(where: str, spec: Any, base: type | None) -> list[Problem]:
    """Return the problems of one {class_path, init_args}; the class must be a subclass of `base`, if given."""
    if isinstance(spec, str):
        spec = {"class_path": spec}
    if not isinstance(spec, dict) or not isinstance(spec.get("class_path"), str):
        return [Problem(where=where, what=f"is {spec!r}; {{class_path, init_args}} is expected")]
    accepted = ("class_path", "init_args", "dict_kwargs")
    problems = [
        Problem(where=f"{where}.{key}", what=f"is not a key here{describe_choices(key, accepted)}")
        for key in spec
        if key not in accepted
    ]
    path = spec["class_path"]
    found = _import_class(path)
    if isinstance(found, str):
        return [*problems, Problem(where=f"{where}.class_path", what=found)]
    if base is not None and not (isinstance(found, type) and issubclass(found, base)):
        return [*problems, Problem(where=f"{where}.class_path", what=f"{path} is not a {base.__name__}")]
    init_args = spec.get("init_args") or {}
    if not isinstance(init_args, dict):
        what = f"is {init_args!r}; a mapping of arguments is expected"
        return [*problems, Problem(where=f"{where}.init_args", what=what)]
    return [*problems, *_argument_problems(f"{where}.init_args", found, path, init_args)]


def _argument_problems(where: str, callable_: Any, shown: str, arguments: Mapping[str, Any]) -> list[Problem]:
    """Return a problem for each argument that a class or function does not have and each value of a wrong type."""
    names = _argument_names(callable_)
    if names is None:
        return []  # jsonargparse cannot read this signature; the parser of the section decides
    problems = []
    for name, value in arguments.items():
        key = f"{where}.{name}"
        if name not in names:
            if name in {"logger", "callbacks"} and shown == "the Trainer":
                continue
            known = describe_choices(name, sorted(names), "arguments")
            problems.append(Problem(where=key, what=f"{shown} has no {name!r}{known}"))
            continue
        nested = _nested_problems(key, value)
        problems.extend(nested)
        if nested or _is_class_spec(value):
            continue  # only the section's parser knows the default class of a spec without class_path
        if (what := _value_problem(callable_, name, json.dumps(value))) is not None:
            problems.append(Problem(where=key, what=what))
    return problems


@functools.lru_cache(maxsize=4096)  # many cells share few values
def _value_problem(callable_: Any, name: str, text: str) -> str | None:
    """Return what is wrong with the value of an argument, given as JSON."""
    value = json.loads(text)
    try:
        _argument_parser(callable_, name).parse_object({name: value})
    except ArgumentError as error:
        return _describe_wrong_value(callable_, name, value, error)
    return None


def _nested_problems(where: str, value: Any) -> list[Problem]:
    if isinstance(value, dict) and "class_path" in value:
        return _class_problems(where, value, None)
    if isinstance(value, list):
        return [
            problem
            for position, item in enumerate(value)
            if isinstance(item, dict) and "class_path" in item
            for problem in _class_problems(f"{where}.{position}", item, None)
        ]
    return []


def _is_class_spec(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.keys() & {"class_path", "init_args"})


@functools.cache
def _argument_names(callable_: Any) -> frozenset[str] | None:
    """Return the arguments of a class or function, with those behind **kwargs; None if jsonargparse cannot read it."""
    parser = ArgumentParser(exit_on_error=False)
    try:
        return frozenset(_add_arguments(parser, callable_, skip=set()))
    except ValueError:
        return None


@functools.cache
def _argument_parser(callable_: Any, name: str) -> ArgumentParser:
    """Return a parser for one argument, so that every wrong value is found and not only the first."""
    parser = ArgumentParser(exit_on_error=False)
    _add_arguments(parser, callable_, skip=set(_argument_names(callable_) or ()) - {name})
    return parser


def _add_arguments(parser: ArgumentParser, callable_: Any, skip: set[str]) -> list[str]:
    add = parser.add_class_arguments if isinstance(callable_, type) else parser.add_function_arguments
    return list(add(callable_, fail_untyped=False, skip=set(skip)))


def _import_class(path: str) -> Any:
    """Import the class of a class_path; return a sentence if it cannot be imported."""
    module_name, _, name = path.rpartition(".")
    if not module_name:
        return f"{path!r} is not a class path; write module.Class, such as lit_models.MLP"
    try:
        module = importlib.import_module(module_name)
    except NameClashError as error:
        return f"{path} cannot be imported: {error}"
    except ModuleNotFoundError as error:
        if (hidden := find_hidden(module_name)) is not None:
            return f"{path} cannot be imported: {hidden}"
        return f"{path} cannot be imported: there is no module {error.name!r} on the Python path"
    except Exception as error:  # noqa: BLE001 -- a user's module may raise anything while it is imported
        return f"{path} cannot be imported: {type(error).__name__}: {error}"
    return getattr(module, name) if hasattr(module, name) else _describe_missing(module, name)


def _describe_missing(module: ModuleType, name: str) -> str:
    """Return the sentence about a class that a module does not have."""
    if (hidden := find_hidden(module.__name__)) is not None:
        return f"{module.__name__} has no {name!r}: {hidden}"
    public = [other for other in dir(module) if not other.startswith("_")]
    near = difflib.get_close_matches(name, public, n=1)
    return f"{module.__name__} has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _describe_wrong_value(callable_: Any, name: str, value: Any, error: ArgumentError) -> str:
    """Describe what was found and what the annotation accepts; without one, return the message of jsonargparse."""
    annotation = _annotation(callable_, name)
    if annotation is inspect.Parameter.empty:
        return _summarize(error)
    names = [literal for literal in _literals(annotation) if isinstance(literal, str)]
    if names and isinstance(value, str):
        return f"is {value!r}{describe_choices(value, names)}"
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    for prefix in ("typing.", "collections.abc."):
        text = text.replace(prefix, "")
    return f"is {value!r}; {text} is expected"


def _annotation(callable_: Any, name: str) -> Any:
    """Return the annotation of an argument of a class or function, or of the base that has it behind **kwargs.

    Returns:
        `inspect.Parameter.empty` where there is none.
    """
    bases = inspect.getmro(callable_) if isinstance(callable_, type) else ()
    for owner in (callable_, *(vars(base)["__init__"] for base in bases if "__init__" in vars(base))):
        parameter = inspect.signature(owner).parameters.get(name)
        if parameter is not None:
            return parameter.annotation
    return inspect.Parameter.empty


def _literals(annotation: Any) -> tuple[Any, ...]:
    """Return the values of a Literal, or of the Literals in a union."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in {Union, UnionType}:
        return tuple(literal for each in get_args(annotation) for literal in _literals(each))
    return ()


def _summarize(error: ArgumentError) -> str:
    """Join the lines of a jsonargparse message that say what is wrong."""
    noise = (
        "Does not validate",
        "Subtypes:",
        "Errors:",
        "- Expected a <class 'NoneType'>",
        "Given value",
        "Parser key",
    )
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line.lstrip("- ") for line in lines if line and not line.startswith(noise)]
    return " ".join(kept) or str(error)

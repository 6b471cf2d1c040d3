"""A study becomes its trials: every distinct cell checked, resolved, built once, and given an identity.

This imports torch and the user's classes, so the command lets a worker do it and stays light itself.
"""

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning.pytorch import LightningDataModule

from experiments.config.instantiate import forget_parsed, make_data, make_model, resolved, section_problems
from experiments.errors import Problem, StudyError
from experiments.mechanisms.claimed_metrics import Layers, claim_problems, layers_of, metric_problems
from experiments.study.design import Cell, cells_of
from experiments.study.study import SECTIONS, Study
from experiments.training.streams import TrialStreams
from experiments.trials.trial import Plan, Trial, create_trials


def plan_trials(study: Study) -> list[Trial]:
    """The trials of `plan_study` alone."""
    return list(plan_study(study).trials)


def plan_study(study: Study, emit: Callable[[Any], None] | None = None) -> Plan:  # noqa: ARG001 -- a runner's form
    """All trials of a study, cell by cell, seeds within, and notes on its data; what they need is there afterwards.

    Each data module's `prepare_data` is called once, as Lightning would, so that data is downloaded before anything
    trains, and a folder that cannot be read is a problem of the study and not of each trial. The global generators are
    seeded before it is made, so what it draws from them is as for the first seed. If it has such methods, it is asked
    for `notes`, sentences that a reader of the report should know, such as what was dropped, and for `fingerprints`,
    hashes by which a folder knows that its data have changed. A model with a method `check_data(data)` says there
    whether it can be trained on them.

    Raises:
        StudyError: with every problem of every cell, each named by the key or the level that brings it in.
    """
    _begin_again()
    cells = cells_of(study)
    texts = [
        {section: json.dumps(cell.config.get(section), sort_keys=True, default=str) for section in SECTIONS}
        for cell in cells
    ]
    _raise_located(study, cells, [[p for s in SECTIONS for p in _problems(s, text[s])] for text in texts])
    seed = study.seeds[0]
    _raise_located(study, cells, [_building_problems(text["model"], text["data"], seed) for text in texts])
    _raise_claims(study, cells, texts)
    _data_to_ask.cache_clear()
    configs = [{section: _resolved(section, text[section]) for section in SECTIONS} for text in texts]
    trials = [create_trials(config, cell.levels, study.seeds) for cell, config in zip(cells, configs, strict=True)]
    _raise_located(study, cells, _same_configuration(cells, [of_cell[0].config_id for of_cell in trials]))
    described = [_described(text["data"], seed) for text in texts]
    return Plan(
        trials=tuple(itertools.chain.from_iterable(trials)),
        notes=_notes(study, cells, [notes for _, notes, _ in described]),
        fingerprints={source: of_source for _, _, own in described for source, of_source in own.items()},
    )


def _raise_claims(study: Study, cells: Sequence[Cell], texts: Sequence[Mapping[str, str]]) -> None:
    """Tell of claims on layers that there are not; networks are built for it once more, if there are such claims."""
    of_cell = {str(cell): text for cell, text in zip(cells, texts, strict=True)}

    def ask(cell: Cell) -> Layers | None:
        text = of_cell[str(cell)]
        return _layers(text["model"], text["data"])

    if problems := metric_problems(study, cells) or claim_problems(study, cells, ask):
        raise StudyError(study.source, problems)


@functools.cache
def _layers(model_text: str, data_text: str) -> Layers | None:
    return layers_of(make_model({"model": _resolved("model", model_text)}, _data_to_ask(data_text)))


def _begin_again() -> None:
    """Forget what earlier plans found: classes may have been defined anew, and data deleted."""
    forget_parsed()
    for function in (_problems, _resolved, _building_problems, _described, _data_to_ask, _layers):
        function.cache_clear()


@functools.cache
def _problems(section: str, text: str) -> tuple[Problem, ...]:
    return tuple(section_problems(section, json.loads(text)))


@functools.cache
def _resolved(section: str, text: str) -> Any:
    return resolved(section, json.loads(text))


@functools.cache
def _building_problems(model_text: str, data_text: str, seed: int) -> tuple[Problem, ...]:
    """Why a model and its data cannot be built, in the words of their own errors."""
    config = {"model": _resolved("model", model_text), "data": _resolved("data", data_text)}
    problem, *_ = _described(data_text, seed)
    if problem is not None:
        return (problem,)
    did = "be built"
    try:
        data = _data_to_ask(data_text)
        model = make_model(config, data)
        did = "train on its data"
        check = getattr(model, "check_data", None)
        if data is not None and callable(check):
            check(data)
    except Exception as error:  # noqa: BLE001 -- a user's class may raise anything
        return (Problem(where="model", what=_cannot(config["model"]["class_path"], did, error)),)
    return ()


@functools.lru_cache(maxsize=1)  # a user's may hold all its data
def _data_to_ask(text: str) -> LightningDataModule | None:
    """A data module for the arguments that models take from it, as fresh as it is where they are trained."""
    return make_data({"data": _resolved("data", text)})


@functools.cache
def _described(text: str, seed: int) -> tuple[Problem | None, tuple[str, ...], Mapping[str, str]]:
    """Why a data module cannot be used, its notes and its fingerprints; the data are prepared, as for this seed."""
    config = {"data": _resolved("data", text)}
    did = "be built"
    try:
        TrialStreams(seed).data()
        data = make_data(config)
        if data is None:
            return None, (), {}
        did = "prepare its data"
        data.prepare_data()
        did = "describe its data"
        return None, _own_notes(data), _own_fingerprints(data)
    except Exception as error:  # noqa: BLE001 -- a user's class may raise anything
        problem = Problem(
            where="data",
            what=_cannot(config["data"]["class_path"], did, error),
            is_absent_data=isinstance(error, FileNotFoundError | ConnectionError),
        )
        return problem, (), {}


def _own_fingerprints(data: LightningDataModule) -> dict[str, str]:
    ask = getattr(data, "fingerprints", None)
    if not callable(ask):
        return {}
    found = ask()
    if not isinstance(found, dict) or not all(isinstance(text, str) for pair in found.items() for text in pair):
        raise TypeError(f"fingerprints() returns {found!r}; a mapping of names to hashes is expected")
    return found


def _own_notes(data: LightningDataModule) -> tuple[str, ...]:
    ask = getattr(data, "notes", None)
    if not callable(ask):
        return ()
    notes = ask()
    if not isinstance(notes, list | tuple) or not all(isinstance(note, str) for note in notes):
        raise TypeError(f"notes() returns {notes!r}; a list of sentences is expected")
    return tuple(notes)


def _notes(study: Study, cells: Sequence[Cell], notes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What the data modules of the cells say, every sentence once, after the level or the cells it belongs to."""
    where: dict[str, set[int]] = {}
    for number, of_cell in enumerate(notes):
        for note in of_cell:
            where.setdefault(note, set()).add(number)
    return tuple(f"{_whose(study, cells, numbers)}{note}" for note, numbers in where.items())


def _whose(study: Study, cells: Sequence[Cell], numbers: set[int]) -> str:
    """The levels that these cells and no others have, else the first of the cells; nothing where it is all of them."""
    if len(numbers) == len(cells):
        return ""
    levels = {
        factor.name: dict.fromkeys(cells[number].levels[factor.name] for number in sorted(numbers))
        for factor in study.factors
    }
    shared = {name: found for name, found in levels.items() if len(found) == 1}
    for wanted in (*({name: found} for name, found in levels.items()), shared):
        if numbers == {
            number
            for number, cell in enumerate(cells)
            if all(cell.levels[name] in found for name, found in wanted.items())
        }:
            return ", ".join(f"{name}={', '.join(found)}" for name, found in wanted.items()) + ": "
    more = f" (and {len(numbers) - 1} more cells)" if len(numbers) > 1 else ""
    return f"{cells[min(numbers)]}{more}: "


def _cannot(class_path: str, do: str, error: Exception) -> str:
    speaks_for_itself = isinstance(error, ValueError | OSError | RuntimeError)
    kind = "" if speaks_for_itself else f"{type(error).__name__}: "
    return f"{class_path} cannot {do}: {kind}{error}"


def _same_configuration(cells: Sequence[Cell], ids: Sequence[str]) -> list[tuple[Problem, ...]]:
    first: dict[str, Cell] = {}
    problems: list[tuple[Problem, ...]] = []
    for cell, key in zip(cells, ids, strict=True):
        other = first.setdefault(key, cell)
        what = f"is the same configuration as {other}; exclude one of them, or change its levels"
        problems.append(() if other is cell else (Problem(where=str(cell), what=what),))
    return problems


def _raise_located(study: Study, cells: Sequence[Cell], problems: Sequence[Iterable[Problem]]) -> None:
    """Raise what was found in each cell, every problem once, named by what brings it in.

    A problem of every cell is one of the base; one of exactly the cells that share a level is one of that level.
    """
    where: dict[Problem, set[int]] = {}
    for number, found in enumerate(problems):
        for problem in found:
            where.setdefault(problem, set()).add(number)
    if where:
        located = [_located(study, cells, problem, numbers) for problem, numbers in where.items()]
        raise StudyError(study.source, located)


def _located(study: Study, cells: Sequence[Cell], problem: Problem, numbers: set[int]) -> Problem:
    where, what = _place(study, cells, problem, numbers)
    return replace(problem, where=where, what=what)


def _place(study: Study, cells: Sequence[Cell], problem: Problem, numbers: set[int]) -> tuple[str, str]:
    key, what = problem.where, problem.what
    names = [str(cells[number]) for number in sorted(numbers)]
    if key == "data.init_args.folds" and study.folds is not None:
        takes_part = "a data module takes part in cross-validation by an argument `folds`"
        return "folds", f"{key}: {what}; {takes_part}"
    if key == names[0]:
        return f"cell {key}", what
    for factor in study.factors:
        for changed in {changed for level in factor.levels for changed in level.changes}:
            if len(numbers) == len(cells) and f"{key}.".startswith(f"{changed}."):
                return f"factors.{factor.name}", f"{key}: {what}"
    if len(numbers) == len(cells):
        return f"base.{key}", what
    for factor in study.factors:
        for level in factor.level_names:
            if numbers == {number for number, cell in enumerate(cells) if cell.levels[factor.name] == level}:
                return f"factors.{factor.name}.{level}", f"{key}: {what}"
    others = f" (and {len(names) - 1} more cells)" if len(names) > 1 else ""
    return f"cell {names[0]}{others}", f"{key}: {what}"

"""Cells of a study: the combinations of levels in its design, without the excluded ones."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.errors import Problem, StudyError

from .config_keys import apply_changes
from .mechanisms import add_callback
from .study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination of levels (factor name -> level name), with its configuration."""

    levels: Mapping[str, str]
    config: Mapping[str, Any]

    def __str__(self) -> str:
        return ", ".join(f"{factor}={level}" for factor, level in self.levels.items())


def cells_of(study: Study) -> list[Cell]:
    """Return all cells of a study, in the order of the file: the last factor changes fastest.

    The design `full` has every combination of levels. `one_at_a_time` has the reference level of every factor, and then
    each other level with the references of the other factors.

    With `folds`, every cell's data module gets them as an argument. With `mechanisms`, every cell's trainer gets the
    callback that measures them.

    Raises:
        StudyError: when `exclude` leaves no cell or a rule of it excludes none, or when a cell has no data module for
            the study's folds.
    """
    combinations = _combinations(study)
    problems = [
        Problem(where=f"exclude.{position}", what=f"excludes no cell of the {study.design} design")
        for position, rule in enumerate(study.exclude)
        if not any(_matches(rule, levels) for levels in combinations)
    ]
    kept = _kept(study, combinations)
    if not kept:
        problems.append(Problem(where="exclude", what="excludes every cell"))
    problems += [
        Problem(where=f"factors.{factor.name}", what=f"no cell is left with its reference {factor.reference!r}")
        for factor in study.factors
        if kept and not any(levels[factor.name] == factor.reference for levels in kept)
    ]
    cells = [Cell(levels=levels, config=_config(study, levels)) for levels in kept]
    problems += _cells_without_data(study, cells)
    if problems:
        raise StudyError(study.source, problems)
    return cells


def count_cells(study: Study) -> int:
    """Return the number of cells, without building their configurations; 0 when all are excluded."""
    return len(_kept(study, _combinations(study)))


def _combinations(study: Study) -> list[dict[str, str]]:
    return _COMBINATIONS[study.design](study)


def _kept(study: Study, combinations: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [levels for levels in combinations if not any(_matches(rule, levels) for rule in study.exclude)]


def _full(study: Study) -> list[dict[str, str]]:
    names = [factor.name for factor in study.factors]
    return [
        dict(zip(names, levels, strict=True))
        for levels in itertools.product(*(factor.level_names for factor in study.factors))
    ]


def _one_at_a_time(study: Study) -> list[dict[str, str]]:
    reference = {factor.name: factor.reference for factor in study.factors}
    others = [
        reference | {factor.name: level}
        for factor in study.factors
        for level in factor.level_names
        if level != factor.reference
    ]
    return [reference, *others]


_COMBINATIONS = {"full": _full, "one_at_a_time": _one_at_a_time}  # one for each of DESIGNS


def _matches(rule: Mapping[str, tuple[str, ...]], levels: Mapping[str, str]) -> bool:
    return all(levels[factor] in excluded for factor, excluded in rule.items())


def _config(study: Study, levels: Mapping[str, str]) -> dict[str, Any]:
    changes = [change for factor in study.factors for change in factor.level(levels[factor.name]).changes.items()]
    config = apply_changes(study.base, changes)
    if study.mechanisms is not None:
        config = add_callback(config, study.mechanisms)
    return config if study.folds is None else _with_folds(config, study.folds)


def _with_folds(config: dict[str, Any], folds: int) -> dict[str, Any]:
    """Return the configuration with the data module's argument `folds` set; an invalid data section is unchanged."""
    data = config.get("data")
    if isinstance(data, str):  # only a class path
        data = {"class_path": data}
    if not isinstance(data, dict) or not isinstance(data.get("init_args") or {}, dict):
        return config
    return apply_changes({**config, "data": data}, [("data.init_args.folds", folds)])


def _cells_without_data(study: Study, cells: Sequence[Cell]) -> list[Problem]:
    without = [str(cell) for cell in cells if study.folds is not None and cell.config.get("data") is None]
    if not without:
        return []
    more = f" and {len(without) - 1} more cells have" if len(without) > 1 else " has"
    what = f"cross-validation needs a data module in every cell, and {without[0]}{more} none; name one under base.data"
    return [Problem(where="folds", what=what)]

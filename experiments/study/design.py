"""Cells of a study: the combinations of levels in its design, without the excluded ones."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.errors import Problem, StudyError

from .config_keys import apply_changes
from .mechanisms import add_mechanisms_callback
from .study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination of levels (factor name -> level name), with its configuration."""

    levels: Mapping[str, str]
    config: Mapping[str, Any]

    def __str__(self) -> str:
        return ", ".join(f"{factor}={level}" for factor, level in self.levels.items())


def build_cells(study: Study) -> list[Cell]:
    """Build all cells of a study, in the order of the file: the last factor varies fastest.

    The design `full` has every combination of levels. `one_at_a_time` has the all-reference cell, then one cell per
    non-reference level, with all other factors at their reference.

    `folds` is passed to each cell's data module. With `mechanisms`, each cell's trainer gets the Mechanisms callback.

    Raises:
        StudyError: every cell is excluded, an exclude rule matches no cell, a factor loses its reference, or a cell has
            no data module to pass `folds` to.
    """
    combinations = _list_combinations(study)
    problems = [
        Problem(
            where=f"exclude.{position}",
            what=f"matches no cell of the {study.design} design; correct or remove this rule",
        )
        for position, rule in enumerate(study.exclude)
        if not any(_matches(rule, levels) for levels in combinations)
    ]
    kept = _drop_excluded(study, combinations)
    if not kept:
        problems.append(Problem(where="exclude", what="excludes every cell; relax or remove a rule"))
    problems += [
        Problem(
            where=f"factors.{factor.name}",
            what=f"every cell with the reference {factor.reference!r} is excluded; relax `exclude` or choose another "
            "reference",
        )
        for factor in study.factors
        if kept and not any(levels[factor.name] == factor.reference for levels in kept)
    ]
    cells = [Cell(levels=levels, config=_build_config(study, levels)) for levels in kept]
    problems += _find_missing_data_problems(study, cells)
    if problems:
        raise StudyError(study.source, problems)
    return cells


def count_cells(study: Study) -> int:
    """Count the cells, without building their configurations; return 0 if all are excluded."""
    return len(_drop_excluded(study, _list_combinations(study)))


def _list_combinations(study: Study) -> list[dict[str, str]]:
    return _COMBINATIONS[study.design](study)


def _drop_excluded(study: Study, combinations: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [levels for levels in combinations if not any(_matches(rule, levels) for rule in study.exclude)]


def _list_full_design(study: Study) -> list[dict[str, str]]:
    names = [factor.name for factor in study.factors]
    return [
        dict(zip(names, levels, strict=True))
        for levels in itertools.product(*(factor.level_names for factor in study.factors))
    ]


def _list_one_at_a_time(study: Study) -> list[dict[str, str]]:
    reference = {factor.name: factor.reference for factor in study.factors}
    others = [
        reference | {factor.name: level}
        for factor in study.factors
        for level in factor.level_names
        if level != factor.reference
    ]
    return [reference, *others]


_COMBINATIONS = {"full": _list_full_design, "one_at_a_time": _list_one_at_a_time}  # one for each of DESIGNS


def _matches(rule: Mapping[str, tuple[str, ...]], levels: Mapping[str, str]) -> bool:
    return all(levels[factor] in excluded for factor, excluded in rule.items())


def _build_config(study: Study, levels: Mapping[str, str]) -> dict[str, Any]:
    changes = [change for factor in study.factors for change in factor.level(levels[factor.name]).changes.items()]
    config = apply_changes(study.base, changes)
    if study.mechanisms is not None:
        config = add_mechanisms_callback(config, study.mechanisms)
    return config if study.folds is None else _set_folds(config, study.folds)


def _set_folds(config: dict[str, Any], folds: int) -> dict[str, Any]:
    """Return a configuration with the data module's argument `folds` set; an invalid data section is unchanged."""
    data = config.get("data")
    if isinstance(data, str):  # only a class path
        data = {"class_path": data}
    if not isinstance(data, dict) or not isinstance(data.get("init_args") or {}, dict):
        return config
    return apply_changes({**config, "data": data}, [("data.init_args.folds", folds)])


def _find_missing_data_problems(study: Study, cells: Sequence[Cell]) -> list[Problem]:
    without = [str(cell) for cell in cells if study.folds is not None and cell.config.get("data") is None]
    if not without:
        return []
    more = f" and {len(without) - 1} more cells have" if len(without) > 1 else " has"
    what = f"cross-validation needs a data module in every cell, and {without[0]}{more} none; name one under base.data"
    return [Problem(where="folds", what=what)]

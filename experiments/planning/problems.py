"""Wording of planning problems: which key, level or cell of the study each one is reported for."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from experiments.errors import Problem, StudyError
from experiments.study.design import Cell
from experiments.study.study import Study


def raise_problems(study: Study, cells: Sequence[Cell], problems: Sequence[Iterable[Problem]]) -> None:
    """Raise the problems of the cells, if there are any, each once and with its location in the study.

    A problem of every cell is located in the base, or in the factor that sets its key in every cell; one of exactly the
    cells that share a level, in that level; any other, in its first cell.

    Args:
        study: the study that is planned.
        cells: of the study.
        problems: of each cell; `where` is the key path in the cell's configuration.

    Raises:
        StudyError: when there is a problem.
    """
    numbers: dict[Problem, set[int]] = {}
    for number, of_cell in enumerate(problems):
        for problem in of_cell:
            numbers.setdefault(problem, set()).add(number)
    if numbers:
        raise StudyError(study.source, [_locate(study, cells, problem, where) for problem, where in numbers.items()])


def label_cells(study: Study, cells: Sequence[Cell], numbers: set[int]) -> str:
    """Return the levels that these cells and no others have, else the first of the cells; "" for all cells.

    Args:
        study: whose factors the levels belong to.
        cells: of the study.
        numbers: positions in `cells`.
    """
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
    return f"{_first_of(cells, numbers)}: "


def describe_failure(class_path: str, action: str, error: Exception) -> str:
    """Return the sentence that a class cannot do something because of an error.

    >>> describe_failure("lit_models.MLP", "be built", ValueError("hidden: is empty"))
    'lit_models.MLP cannot be built: hidden: is empty'
    >>> describe_failure("my.Net", "be built", KeyError("size"))
    "my.Net cannot be built: KeyError: 'size'"
    """
    is_clear = isinstance(error, ValueError | OSError | RuntimeError)  # without the name of its class
    return f"{class_path} cannot {action}: {'' if is_clear else f'{type(error).__name__}: '}{error}"


def find_duplicates(cells: Sequence[Cell], config_ids: Sequence[str]) -> list[tuple[Problem, ...]]:
    """Return for each cell the problem that an earlier cell has the same configuration, if one has."""
    first: dict[str, Cell] = {}
    problems: list[tuple[Problem, ...]] = []
    for cell, config_id in zip(cells, config_ids, strict=True):
        other = first.setdefault(config_id, cell)
        what = f"is the same configuration as {other}; exclude one of them, or change its levels"
        problems.append(() if other is cell else (Problem(where=str(cell), what=what),))
    return problems


def _locate(study: Study, cells: Sequence[Cell], problem: Problem, numbers: set[int]) -> Problem:
    where, key = _location(study, cells, problem.where, numbers), problem.where
    what = problem.what if where in {f"base.{key}", f"cell {key}"} else f"{key}: {problem.what}"
    if where == "folds":
        what += "; a data module takes part in cross-validation by an argument `folds`"
    return replace(problem, where=where, what=what)


def _location(study: Study, cells: Sequence[Cell], key: str, numbers: set[int]) -> str:
    if key == "data.init_args.folds" and study.folds is not None:
        return "folds"
    if key == str(cells[min(numbers)]):
        return f"cell {key}"
    is_everywhere = len(numbers) == len(cells)
    for factor in study.factors:
        for changed in {changed for level in factor.levels for changed in level.changes}:
            if is_everywhere and f"{key}.".startswith(f"{changed}."):
                return f"factors.{factor.name}"
    if is_everywhere:
        return f"base.{key}"
    for factor in study.factors:
        for level in factor.level_names:
            if numbers == {number for number, cell in enumerate(cells) if cell.levels[factor.name] == level}:
                return f"factors.{factor.name}.{level}"
    return f"cell {_first_of(cells, numbers)}"


def _first_of(cells: Sequence[Cell], numbers: set[int]) -> str:
    more = f" (and {len(numbers) - 1} more cells)" if len(numbers) > 1 else ""
    return f"{cells[min(numbers)]}{more}"

"""Typed getters for study files. Each records a problem and returns a default, so that all problems are reported."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.errors import Problem
from experiments.text import describe_choices

from .study import GOALS, Factor, Metric, format_value, infer_goal


class StudyReader:
    """Reader of values of a study file. `problems` holds what was wrong so far, in the order of reading."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add_problem(self, where: str, what: str) -> None:
        """Record a problem of a key path."""
        self.problems.append(Problem(where=where, what=what))

    def check_type(self, where: str, value: Any, kind: type, expected: str) -> bool:
        """Return whether a value is of a type. Record a problem if it is not; `expected` is for the message."""
        if not isinstance(value, kind):
            self.add_problem(where, f"is {value!r}; {expected} is expected")
        return isinstance(value, kind)

    def check_keys(self, where: str, mapping: Mapping[Any, Any], accepted: Sequence[str]) -> None:
        """Record a problem for each key that is not accepted."""
        for key in mapping:
            if key not in accepted:
                path = f"{where}.{key}" if where else str(key)
                self.add_problem(path, f"is not a key here{describe_choices(key, accepted)}")

    def read_text(self, where: str, value: Any) -> str:
        """Return a text on one line."""
        return " ".join(value.split()) if self.check_type(where, value, str, "a text") else ""

    def read_choice(self, where: str, value: Any, accepted: Sequence[str]) -> str:
        """Return one of the accepted words."""
        if value not in accepted:
            self.add_problem(where, f"is {value!r}{describe_choices(value, accepted)}")
        return str(value)

    def read_positive(self, where: str, value: Any, expected: str) -> float | None:
        """Return a positive, finite number, or None; `expected` is for the message."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is None:
            return None
        if is_number and value > 0:
            number: float = value  # a whole number stays one, as the file has it
            return number
        self.add_problem(where, f"is {value!r}; {expected} is expected")
        return None

    def read_metric(self, value: Any, where: str = "metric") -> Metric:
        """Return the metric of a study, or of one of its claims."""
        if not self.check_type(where, value, dict, "{name, goal, margin}"):
            return Metric(name="")
        self.check_keys(where, value, ("name", "goal", "margin"))
        if "name" not in value:
            self.add_problem(f"{where}.name", "is missing; a metric that the model logs, such as test/acc")
        name = self.read_text(f"{where}.name", value.get("name", ""))
        goal = infer_goal(name)
        if "goal" in value:
            goal = self.read_choice(f"{where}.goal", value["goal"], GOALS)
        elif goal is None and name:
            self.add_problem(
                f"{where}.goal", f"is missing, and {name!r} does not say whether more is better; max or min"
            )
        margin = self.read_positive(f"{where}.margin", value.get("margin"), "a positive number in the metric's unit")
        return Metric(name=name, goal=goal or "max", margin=margin)

    def read_level(
        self, where: str, factors: Sequence[Factor], factor_name: Any, level: Any, where_factor: str | None = None
    ) -> str:
        """Return the name of a factor's level, as reports write it.

        Args:
            where: key of the level, for messages.
            factors: the factors.
            factor_name: the factor of the level.
            level: the level.
            where_factor: key of the factor's name, if it is another.
        """
        names = [factor.name for factor in factors]
        if factor_name not in names:
            problem = f"{factor_name!r} is not a factor{describe_choices(factor_name, names, 'factors')}"
            if not any(known.what == problem for known in self.problems):
                self.add_problem(where_factor or where, problem)
            return format_value(level)
        accepted = factors[names.index(factor_name)].level_names
        if format_value(level) not in accepted:
            known = describe_choices(level, accepted, "levels")
            self.add_problem(where, f"{format_value(level)!r} is not a level of {factor_name}{known}")
        return format_value(level)

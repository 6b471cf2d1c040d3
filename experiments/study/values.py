"""What every part of a study file is read with: problems are collected, and a stand-in is returned to read on with."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.errors import Problem
from experiments.text import choices

from .study import GOALS, Factor, Metric, format_value, infer_goal


class StudyReader:
    """Reads values of a study file. `problems` is what was wrong with those so far, in the order of reading."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, where: str, what: str) -> None:
        """Note a problem of a key path."""
        self.problems.append(Problem(where=where, what=what))

    def is_a(self, where: str, value: Any, kind: type, expected: str) -> bool:
        """Return whether a value is of a type. Record a problem if it is not; `expected` is for the message."""
        if not isinstance(value, kind):
            self.wrong(where, f"is {value!r}; {expected} is expected")
        return isinstance(value, kind)

    def only_keys(self, where: str, mapping: Mapping[Any, Any], accepted: Sequence[str]) -> None:
        """Keys that are not accepted are problems."""
        for key in mapping:
            if key not in accepted:
                path = f"{where}.{key}" if where else str(key)
                self.wrong(path, f"is not a key here{choices(key, accepted)}")

    def text(self, where: str, value: Any) -> str:
        """A text, on one line."""
        return " ".join(value.split()) if self.is_a(where, value, str, "a text") else ""

    def one_of(self, where: str, value: Any, accepted: Sequence[str]) -> str:
        """One of the accepted words."""
        if value not in accepted:
            self.wrong(where, f"is {value!r}{choices(value, accepted)}")
        return str(value)

    def positive(self, where: str, value: Any, what: str) -> float | None:
        """A positive, finite number; None where there is none. `what` is what is expected, for the message."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is None:
            return None
        if is_number and value > 0:
            number: float = value  # a whole number stays one, as the file has it
            return number
        self.wrong(where, f"is {value!r}; {what} is expected")
        return None

    def metric(self, value: Any, where: str = "metric") -> Metric:
        """The metric of a study, or of one of its claims."""
        if not self.is_a(where, value, dict, "{name, goal, margin}"):
            return Metric(name="")
        self.only_keys(where, value, ("name", "goal", "margin"))
        if "name" not in value:
            self.wrong(f"{where}.name", "is missing; a metric that the model logs, such as test/acc")
        name = self.text(f"{where}.name", value.get("name", ""))
        goal = infer_goal(name)
        if "goal" in value:
            goal = self.one_of(f"{where}.goal", value["goal"], GOALS)
        elif goal is None and name:
            self.wrong(f"{where}.goal", f"is missing, and {name!r} does not say whether more is better; max or min")
        margin = self.positive(f"{where}.margin", value.get("margin"), "a positive number in the metric's unit")
        return Metric(name=name, goal=goal or "max", margin=margin)

    def level_of(self, where: str, factors: Sequence[Factor], factor_name: Any, level: Any) -> str:
        """The name of a factor's level, as reports write it."""
        names = [factor.name for factor in factors]
        if factor_name not in names:
            problem = f"{factor_name!r} is not a factor{choices(factor_name, names, 'factors')}"
            if not any(known.what == problem for known in self.problems):
                self.wrong(where, problem)
            return format_value(level)
        accepted = factors[names.index(factor_name)].level_names
        if format_value(level) not in accepted:
            known = choices(level, accepted, "levels")
            self.wrong(where, f"{format_value(level)!r} is not a level of {factor_name}{known}")
        return format_value(level)

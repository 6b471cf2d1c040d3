"""The part of MongoDB's query language that W&B takes as filters of runs, over the runs of the store."""

from collections.abc import Callable
from typing import Any

from wandb_store import StoredRun

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, wanted: value == wanted,
    "$ne": lambda value, wanted: value != wanted,
    "$in": lambda value, wanted: bool(set(value) & set(wanted)) if isinstance(value, list) else value in wanted,
    "$nin": lambda value, wanted: value not in wanted,
    "$gt": lambda value, wanted: value is not None and value > wanted,
    "$gte": lambda value, wanted: value is not None and value >= wanted,
    "$lt": lambda value, wanted: value is not None and value < wanted,
    "$lte": lambda value, wanted: value is not None and value <= wanted,
    "$exists": lambda value, wanted: (value is not None) == wanted,
}
_NAMES = {
    "name": "run_id",
    "displayName": "name",
    "display_name": "name",
    "jobType": "job_type",
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
}


def matches(run: StoredRun, filters: dict[str, Any]) -> bool:
    """Whether the run passes. Raises ValueError for an operator that the server does not know."""
    for key, wanted in filters.items():
        if key in ("$and", "$or", "$nor"):
            passes = [matches(run, part) for part in wanted]
            passed = {"$and": all(passes), "$or": any(passes), "$nor": not any(passes)}[key]
        elif key.startswith("$"):
            raise ValueError(f"the loopback server has no filter {key}")
        else:
            passed = _passes(value_of(run, key), wanted)
        if not passed:
            return False
    return True


def _passes(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return wanted in value if isinstance(value, list) else value == wanted
    unknown = wanted.keys() - _OPERATORS.keys()
    if unknown:
        raise ValueError(f"the loopback server has no filter {', '.join(sorted(unknown))}")
    return all(_OPERATORS[operator](value, operand) for operator, operand in wanted.items())


def value_of(run: StoredRun, key: str) -> Any:
    """What a filter's key stands for: `config.lr` (also with `.value`), `summary_metrics.acc`, or the run's own."""
    section, _, rest = key.partition(".")
    if section == "config":
        return _inside(run.config, rest.removesuffix(".value").replace(".value.", "."))
    if section in ("summary_metrics", "summaryMetrics", "summary"):
        return _inside(run.summary, rest)
    return getattr(run, _NAMES.get(key, key), None)


def _inside(values: Any, path: str) -> Any:
    if not path or not isinstance(values, dict):
        return values if not path else None
    if path in values:
        return values[path]
    head, _, rest = path.partition(".")
    return _inside(values.get(head), rest) if rest else None


def sort_key(run: StoredRun, order: str) -> tuple[bool, Any]:
    """Where a run stands; those without a value come first."""
    value = value_of(run, order)
    return (value is not None, value if value is not None else 0)

"""Claims of a study file: one level is better than another, or equal to it, in some cells or in all.

`better` and `than`, or `equal` and `to`, name the two levels; `where` names levels of other factors; `more_under` and
`than_under` name two levels of another factor, and the difference is claimed to be larger under the first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .study import LINEAR, LOG, SCALES, Claim, Factor, Metric
from .values import StudyReader

_BETTER, _EQUAL = ("better", "than"), ("equal", "to")
_NEEDED = ("factor", *_BETTER, "says")
_INTERACTION_KEYS = ("more_under", "than_under")


def read_claims(
    reader: StudyReader, value: Any, factors: Sequence[Factor], design: Any, metric: Metric
) -> tuple[Claim, ...]:
    """Return the claims in a mapping of name to {factor, better, than, says}.

    Args:
        reader: records the problems.
        value: content of the study file.
        factors: of the study.
        design: of the study, as in the file.
        metric: of the study.
    """
    if not reader.check_type("claims", value, dict, "a mapping of name to {factor, better, than, says}"):
        return ()
    claims = []
    for name, entry in value.items():
        where = f"claims.{name}"
        if not reader.check_type(where, entry, dict, "{factor, better, than, says}"):
            continue
        reader.check_keys(where, entry, (*_NEEDED, *_EQUAL, *_INTERACTION_KEYS, "where", "metric", "scale"))
        is_equality = any(key in entry for key in _EQUAL)
        levels = _EQUAL if is_equality else _BETTER
        if is_equality and any(key in entry for key in _BETTER):
            given = " and ".join(key for key in (*_BETTER, *_EQUAL) if key in entry)
            reader.add_problem(where, f"has {given}; {{better, than}} or {{equal, to}} is expected")
            continue
        missing = [key for key in ("factor", *levels, "says") if key not in entry]
        for key in missing:
            reader.add_problem(f"{where}.{key}", "is missing")
        if {*missing} - {"says"}:
            continue
        one, other = (
            reader.read_level(f"{where}.{key}", factors, entry["factor"], entry[key], f"{where}.factor")
            for key in levels
        )
        if one == other:
            reader.add_problem(where, f"compares {one!r} with itself")
        claim_metric = reader.read_metric(entry["metric"], f"{where}.metric") if "metric" in entry else None
        margin = (claim_metric or metric).margin
        if is_equality and margin is None:
            reader.add_problem(where, "claims equality, but its metric has no margin within which levels are equal")
        under, than_under = _read_interaction(reader, where, entry, factors, design)
        taken = [str(entry["factor"])] + ([] if under is None else [under[0]])
        claims.append(
            Claim(
                name=str(name),
                factor=str(entry["factor"]),
                better=one,
                than=other,
                says=reader.read_text(f"{where}.says", entry.get("says", "")),
                is_equality=is_equality,
                where=_read_where(reader, f"{where}.where", entry["where"], factors, design, taken)
                if "where" in entry
                else (),
                under=under,
                than_under=than_under,
                metric=claim_metric,
                scale=_read_scale(reader, where, entry.get("scale", LINEAR), claim_metric, metric),
            )
        )
    return tuple(claims)


def _read_scale(reader: StudyReader, where: str, value: Any, metric: Metric | None, metric_of_study: Metric) -> str:
    """Return the scale of a claim: values, or their logarithms, for which a margin has to be a factor."""
    scale = reader.read_choice(f"{where}.scale", value, SCALES)
    if scale != LOG:
        return scale
    if metric is None and metric_of_study.margin is not None:
        reader.add_problem(
            f"{where}.scale",
            f"is log, for which the study's margin of {metric_of_study.margin} has no meaning; give the claim a "
            "`metric` without a margin, or with one that is a factor above 1",
        )
    if metric is not None and metric.margin is not None and metric.margin <= 1:
        reader.add_problem(
            f"{where}.metric.margin", f"is {metric.margin}; with scale: log it is a factor above 1, such as 2"
        )
    return scale


def _read_interaction(
    reader: StudyReader, where: str, entry: Mapping[str, Any], factors: Sequence[Factor], design: Any
) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
    """Return the two levels of another factor that a claim on an interaction compares; None twice for other claims."""
    given = [key for key in _INTERACTION_KEYS if key in entry]
    if not given:
        return None, None
    for key in _INTERACTION_KEYS:
        if key not in entry:
            reader.add_problem(f"{where}.{key}", f"is missing; {given[0]} is compared with it")
    cells = [_read_one_level(reader, f"{where}.{key}", entry[key], factors) for key in given]
    if len(given) < len(_INTERACTION_KEYS) or None in cells:
        return None, None
    under, than_under = cells
    if under is not None and than_under is not None:
        if under[0] != than_under[0]:
            reader.add_problem(
                where, f"more_under names {under[0]!r} and than_under {than_under[0]!r}; one factor is needed"
            )
        elif under == than_under:
            reader.add_problem(where, f"compares {under[0]}={under[1]} with itself")
        elif under[0] == entry["factor"]:
            reader.add_problem(f"{where}.more_under", f"names the claim's factor {under[0]!r}; another one is needed")
        elif design == "one_at_a_time":
            reader.add_problem(
                where, "is on an interaction, which the one_at_a_time design cannot estimate; use design: full"
            )
    return under, than_under


def _read_where(
    reader: StudyReader, where: str, value: Any, factors: Sequence[Factor], design: Any, taken: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Return levels of other factors, as in {depth: 8}; `taken` are the factors that the claim compares already."""
    if not isinstance(value, dict) or not value:
        reader.add_problem(where, f"is {value!r}; a mapping of factor to level is expected")
        return ()
    levels = []
    for name, level in value.items():
        if str(name) in taken:
            reader.add_problem(
                where, f"names {str(name)!r}, which the claim compares already; another factor is needed"
            )
        levels.append((str(name), reader.read_level(f"{where}.{name}", factors, name, level)))
    if design == "one_at_a_time":
        reader.add_problem(where, "names a cell that the one_at_a_time design lacks; use design: full")
    return tuple(levels)


def _read_one_level(reader: StudyReader, where: str, value: Any, factors: Sequence[Factor]) -> tuple[str, str] | None:
    """Return one factor and one level, as in {activation: relu}; None when it is something else."""
    if not isinstance(value, dict) or len(value) != 1:
        reader.add_problem(where, f"is {value!r}; one {{factor: level}} is expected")
        return None
    ((name, level),) = value.items()
    return str(name), reader.read_level(f"{where}.{name}", factors, name, level)

"""The claims of a study file: that a level is better than another, or more so in one of two contexts."""

from collections.abc import Mapping, Sequence
from typing import Any

from .study import Claim, Factor
from .study_reader import StudyReader

_NEEDED = ("factor", "better", "than", "says")
_INTERACTION_KEYS = ("more_under", "than_under")


def read_claims(reader: StudyReader, value: Any, factors: Sequence[Factor], design: Any) -> tuple[Claim, ...]:
    """The claims, from a mapping of name to {factor, better, than, says}; the reader notes what is wrong."""
    if not isinstance(value, dict):
        reader.wrong("claims", f"is {value!r}; a mapping of name to {{factor, better, than, says}} is expected")
        return ()
    claims = []
    for name, entry in value.items():
        where = f"claims.{name}"
        if not isinstance(entry, dict):
            reader.wrong(where, f"is {entry!r}; {{factor, better, than, says}} is expected")
            continue
        reader.only_keys(where, entry, (*_NEEDED, *_INTERACTION_KEYS, "metric"))
        missing = [key for key in _NEEDED if key not in entry]
        for key in missing:
            reader.wrong(f"{where}.{key}", "is missing")
        if missing:
            continue
        better, than = (
            reader.level_of(f"{where}.{key}", factors, entry["factor"], entry[key]) for key in ("better", "than")
        )
        if better == than:
            reader.wrong(where, f"compares {better!r} with itself")
        under, than_under = _interaction(reader, where, entry, factors, design)
        claims.append(
            Claim(
                name=str(name),
                factor=str(entry["factor"]),
                better=better,
                than=than,
                says=reader.text(f"{where}.says", entry["says"]),
                under=under,
                than_under=than_under,
                metric=reader.metric(entry["metric"], f"{where}.metric") if "metric" in entry else None,
            )
        )
    return tuple(claims)


def _interaction(
    reader: StudyReader, where: str, entry: Mapping[str, Any], factors: Sequence[Factor], design: Any
) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
    """The two cells of another factor that a claim on an interaction compares; None twice for other claims."""
    given = [key for key in _INTERACTION_KEYS if key in entry]
    if not given:
        return None, None
    for key in _INTERACTION_KEYS:
        if key not in entry:
            reader.wrong(f"{where}.{key}", f"is missing; {given[0]} is compared with it")
    cells = [_one_level(reader, f"{where}.{key}", entry[key], factors) for key in given]
    if len(given) < len(_INTERACTION_KEYS) or None in cells:
        return None, None
    under, than_under = cells
    if under is not None and than_under is not None:
        if under[0] != than_under[0]:
            reader.wrong(where, f"more_under names {under[0]!r} and than_under {than_under[0]!r}; one factor is needed")
        elif under == than_under:
            reader.wrong(where, f"compares {under[0]}={under[1]} with itself")
        elif under[0] == entry["factor"]:
            reader.wrong(f"{where}.more_under", f"names the claim's own factor {under[0]!r}; another one is needed")
        elif design == "one_at_a_time":
            reader.wrong(where, "is on an interaction, which the one_at_a_time design cannot estimate; use full")
    return under, than_under


def _one_level(reader: StudyReader, where: str, value: Any, factors: Sequence[Factor]) -> tuple[str, str] | None:
    """One factor with one level, as in {activation: relu}."""
    if not isinstance(value, dict) or len(value) != 1:
        reader.wrong(where, f"is {value!r}; one {{factor: level}} is expected")
        return None
    ((name, level),) = value.items()
    return str(name), reader.level_of(f"{where}.{name}", factors, name, level)

"""Colours and markers of the levels, the same in every figure of a report."""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.study.study import Study

from .drawing import MUTED, PALETTE

_MARKERS = ("o", "s", "D", "^", "v", "P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Colour and marker of a level. Markers distinguish levels whose colours repeat."""

    colour: str
    marker: str


def choose_looks(study: Study) -> Mapping[tuple[str, str], Look]:
    """Return the look of each (factor, level).

    References are grey. The other levels take the colours of the palette in the order of the study file, and the next
    marker each time the palette begins again.
    """
    looks: dict[tuple[str, str], Look] = {}
    taken = 0
    for factor in study.factors:
        for level in factor.level_names:
            if level == factor.reference:
                looks[factor.name, level] = Look(colour=MUTED, marker="o")
                continue
            round_number, index = divmod(taken, len(PALETTE))
            looks[factor.name, level] = Look(colour=PALETTE[index], marker=_MARKERS[round_number % len(_MARKERS)])
            taken += 1
    return looks

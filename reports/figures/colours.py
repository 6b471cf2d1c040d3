"""Which colour stands for which level, the same in every figure of a report."""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.study.study import Study

from .drawing import MUTED, PALETTE

_MARKERS = ("o", "s", "D", "^", "v", "P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a level is drawn: a colour, and a marker that tells levels apart where colours repeat."""

    colour: str
    marker: str


def looks_of(study: Study) -> Mapping[tuple[str, str], Look]:
    """The look of each (factor, level). References are grey; the others take the palette in the order of the file.

    Levels of different factors have different colours as long as these last; from then on the marker changes.
    """
    looks: dict[tuple[str, str], Look] = {}
    taken = 0
    for factor in study.factors:
        for level in factor.level_names:
            if level == factor.reference:
                looks[factor.name, level] = Look(colour=MUTED, marker="o")
                continue
            round_number, place = divmod(taken, len(PALETTE))
            looks[factor.name, level] = Look(colour=PALETTE[place], marker=_MARKERS[round_number % len(_MARKERS)])
            taken += 1
    return looks

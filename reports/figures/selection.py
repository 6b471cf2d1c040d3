"""Which figures a report gets: enough to see what happened, few enough to be looked at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

from experiments.study.study import Factor
from reports.mechanism_maps import list_scalar_metrics
from reports.report import Report

from .cells import cell_dots, heat_map, interaction
from .drawing import Picture
from .forest import forest
from .layer_maps import layer_figures
from .learning_curves import curve_kinds, learning_curves, paired_bands, scalar_curves
from .slopes import slopes
from .variance_shares import shares

MOST_FACTORS = 5  # with slopes
MOST_PAIRS = 3  # of factors, with two figures each
MOST_CURVES = 4
MOST_BANDS = 2  # 1 + 1 + 5 + 2 * 3 + 1 + 4 + 2: 20 figures at most, and those of mechanisms where they were measured
MOST_SCALARS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a report by the part of the page they stand in, and sentences on those that were left out.

    scalars, layers: of mechanisms, of networks as a whole and layer by layer.
    """

    effects: tuple[Picture, ...]
    slopes: tuple[Picture, ...]
    cells: tuple[Picture, ...]
    interactions: tuple[Picture, ...]
    shares: tuple[Picture, ...]
    curves: tuple[Picture, ...]
    bands: tuple[Picture, ...]
    scalars: tuple[Picture, ...]
    layers: tuple[Picture, ...]
    left_out: tuple[str, ...]

    def __iter__(self) -> Iterator[Picture]:
        yield from (*self.effects, *self.slopes, *self.cells, *self.interactions, *self.shares)
        yield from (*self.curves, *self.bands, *self.scalars, *self.layers)


def figures_of(report: Report) -> Figures:
    """All figures of a report, 20 at most and those of mechanisms; the same report gives the same figures."""
    factors = report.study.factors
    pairs = _pairs(report)
    kinds = curve_kinds(report)
    curves = [(factor, kind) for factor in factors for kind in kinds[:2]]
    scalars = [(factor, metric) for metric in list_scalar_metrics(report) for factor in factors]
    banded = report.curve_differences[["factor", "metric"]].drop_duplicates().to_records(index=False).tolist()
    by_name = {factor.name: factor for factor in factors}
    left_out = []
    if len(factors) > MOST_FACTORS:
        left_out.append(f"Slopes are drawn for the first {MOST_FACTORS} of {len(factors)} factors.")
    if len(pairs) > MOST_PAIRS:
        left_out.append(f"{MOST_PAIRS} of {len(pairs)} pairs of factors are drawn, those that interact most first.")
    if len(curves) > MOST_CURVES:
        left_out.append(
            f"{MOST_CURVES} of {len(curves)} figures of learning curves are drawn; curves.csv has them all."
        )
    if len(banded) > MOST_BANDS:
        left_out.append(f"{MOST_BANDS} of {len(banded)} figures of paired curves are drawn; report.json has them all.")
    if len(scalars) > MOST_SCALARS:
        left_out.append(
            f"{MOST_SCALARS} of {len(scalars)} figures of ratios and gaps are drawn; curves.csv has them all."
        )
    return Figures(
        effects=_drawn(lambda: forest(report)),
        slopes=_drawn(*(_later(slopes, report, factor) for factor in factors[:MOST_FACTORS])),
        cells=_drawn(lambda: cell_dots(report)),
        interactions=_drawn(
            *(_later(draw, report, *pair) for pair in pairs[:MOST_PAIRS] for draw in (interaction, heat_map))
        ),
        shares=_drawn(lambda: shares(report)),
        curves=_drawn(*(_later(learning_curves, report, *chosen) for chosen in curves[:MOST_CURVES])),
        bands=_drawn(*(_later(paired_bands, report, by_name[name], metric) for name, metric in banded[:MOST_BANDS])),
        scalars=_drawn(*(_later(scalar_curves, report, *chosen) for chosen in scalars[:MOST_SCALARS])),
        layers=layer_figures(report),
        left_out=tuple(left_out),
    )


def _pairs(report: Report) -> list[tuple[Factor, Factor]]:
    """Pairs of factors that share cells, those with the smallest p value of an interaction first."""
    study = report.study
    if study.design != "full":
        return []
    pairs = list(combinations(study.factors, 2))
    table = report.interactions
    smallest = {
        frozenset(names): float(rows["p_value"].min()) for names, rows in table.groupby(["factor_a", "factor_b"])
    }
    pairs.sort(key=lambda pair: smallest.get(frozenset(factor.name for factor in pair), 1.0))
    # The longer factor runs along the axis, so that few lines are to be told apart.
    return [(one, other) if len(one.levels) >= len(other.levels) else (other, one) for one, other in pairs]


def _later(draw: Callable[..., Picture | None], *arguments: object) -> Callable[[], Picture | None]:
    return lambda: draw(*arguments)


def _drawn(*draws: Callable[[], Picture | None]) -> tuple[Picture, ...]:
    return tuple(picture for draw in draws if (picture := draw()) is not None)

"""Selection of the figures of a report: at most 20, and those of mechanisms."""

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
from .learning_curves import learning_curves, list_curve_kinds, paired_curves, scalar_curves
from .slopes import slopes
from .variance_shares import shares

MOST_FACTORS = 5  # with slopes
MOST_PAIRS = 3  # of factors, with two figures each
MOST_CURVES = 4
MOST_PAIRED = 2  # at most 1 + 5 + 1 + 2 * 3 + 1 + 4 + 2 = 20 figures without those of mechanisms
MOST_SCALARS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of a report by section of the page, and sentences about those left out.

    scalars, layers: figures of mechanisms, for whole networks and by layer.
    """

    effects: tuple[Picture, ...]
    slopes: tuple[Picture, ...]
    cells: tuple[Picture, ...]
    interactions: tuple[Picture, ...]
    shares: tuple[Picture, ...]
    curves: tuple[Picture, ...]
    paired_curves: tuple[Picture, ...]
    scalars: tuple[Picture, ...]
    layers: tuple[Picture, ...]
    left_out: tuple[str, ...]

    def __iter__(self) -> Iterator[Picture]:
        yield from (*self.effects, *self.slopes, *self.cells, *self.interactions, *self.shares)
        yield from (*self.curves, *self.paired_curves, *self.scalars, *self.layers)


def figures_of(report: Report) -> Figures:
    """Return the figures of a report: at most 20, and those of mechanisms. They depend on the report alone."""
    factors = report.study.factors
    pairs = _sort_pairs(report)
    kinds = list_curve_kinds(report)
    curves = [(factor, kind) for factor in factors for kind in kinds[:2]]
    scalars = [(factor, metric) for metric in list_scalar_metrics(report) for factor in factors]
    paired = report.curve_differences[["factor", "metric"]].drop_duplicates().to_records(index=False).tolist()
    by_name = {factor.name: factor for factor in factors}
    left_out = []
    if len(factors) > MOST_FACTORS:
        left_out.append(f"Slope charts are drawn for the first {MOST_FACTORS} of {len(factors)} factors.")
    if len(pairs) > MOST_PAIRS:
        left_out.append(f"Drawn: {MOST_PAIRS} of {len(pairs)} pairs of factors, those with the smallest p values.")
    if len(curves) > MOST_CURVES:
        left_out.append(
            f"Drawn: {MOST_CURVES} of {len(curves)} figures of learning curves; curves.csv has all of them."
        )
    if len(paired) > MOST_PAIRED:
        left_out.append(
            f"Drawn: {MOST_PAIRED} of {len(paired)} figures of paired differences; report.json has all of them."
        )
    if len(scalars) > MOST_SCALARS:
        left_out.append(
            f"Drawn: {MOST_SCALARS} of {len(scalars)} figures of ratios and gaps; curves.csv has all of them."
        )
    return Figures(
        effects=_draw(lambda: forest(report)),
        slopes=_draw(*(_delay(slopes, report, factor) for factor in factors[:MOST_FACTORS])),
        cells=_draw(lambda: cell_dots(report)),
        interactions=_draw(
            *(_delay(draw, report, *pair) for pair in pairs[:MOST_PAIRS] for draw in (interaction, heat_map))
        ),
        shares=_draw(lambda: shares(report)),
        curves=_draw(*(_delay(learning_curves, report, *chosen) for chosen in curves[:MOST_CURVES])),
        paired_curves=_draw(
            *(_delay(paired_curves, report, by_name[name], metric) for name, metric in paired[:MOST_PAIRED])
        ),
        scalars=_draw(*(_delay(scalar_curves, report, *chosen) for chosen in scalars[:MOST_SCALARS])),
        layers=layer_figures(report),
        left_out=tuple(left_out),
    )


def _sort_pairs(report: Report) -> list[tuple[Factor, Factor]]:
    """Return the pairs of factors of a full design, sorted by the smallest p value of their interactions."""
    study = report.study
    if study.design != "full":
        return []
    pairs = list(combinations(study.factors, 2))
    table = report.interactions
    smallest = {
        frozenset(names): float(rows["p_value"].min()) for names, rows in table.groupby(["factor_a", "factor_b"])
    }
    pairs.sort(key=lambda pair: smallest.get(frozenset(factor.name for factor in pair), 1.0))
    # The factor with more levels runs along the axis, so that there are fewer lines.
    return [(one, other) if len(one.levels) >= len(other.levels) else (other, one) for one, other in pairs]


def _delay(draw: Callable[..., Picture | None], *arguments: object) -> Callable[[], Picture | None]:
    return lambda: draw(*arguments)


def _draw(*draws: Callable[[], Picture | None]) -> tuple[Picture, ...]:
    return tuple(picture for draw in draws if (picture := draw()) is not None)

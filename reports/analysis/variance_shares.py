"""Shares of the metric's variance that factors, pairs of factors and the seed explain.

The model is y ~ (factors)^2 + C(seed): main effects, two-factor interactions, and the seed as a fixed block. If every
cell has every seed, this is the repeated-measures ANOVA, and the sums of squares are those of the functional ANOVA. The
residual contains all other interactions: those of three or more factors, and those of factors with the seed.

On a complete grid, sums of squares are computed from means. Otherwise they are of type II (each term after all others
that do not contain it), by least squares with sum-to-zero coding, and need not add up to the total.

N trials, S seeds, P columns.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.study.study import Study
from reports.statistics.paired import CONFIDENCE

from .cells import Outcomes

SEED, RESIDUAL = "seed", "residual"
COLUMNS = (
    *("source", "sum_of_squares", "df", "share", "partial_omega_squared", "share_low", "share_high", "f", "p_value"),
)
_MIN_SEEDS_FOR_JACKKNIFE = 3  # two remain when one is left out
_LARGEST = 1e150
_ROUNDING = 1e-12  # of the total sum of squares

Term = tuple[int, ...]  # axes of the factors; () is the seed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """Sums of squares and degrees of freedom of the terms and of the residual."""

    sums: dict[Term, float]
    freedoms: dict[Term, int]
    residual: float
    residual_freedom: int

    @property
    def total(self) -> float:
        return sum(self.sums.values()) + self.residual

    def shares(self, terms: Sequence[Term]) -> NDArray[np.float64]:
        """Return the shares of the terms and, last, of the residual, (terms + 1,); NaN if nothing varies."""
        total = self.total
        values = np.array([*(self.sums[term] for term in terms), self.residual])
        return values / total if total > 0 else np.full(len(values), np.nan)


def variance_share_table(study: Study, outcomes: Outcomes) -> tuple[pd.DataFrame, str]:
    """Return one row per source of variance, and the reason if there are none (otherwise "").

    Columns:
        source: a factor, "a × b", "seed" ("fold" if seeds are folds), or "residual".
        sum_of_squares, df: sum of squares and degrees of freedom.
        share: share of the sum of all sums of squares.
        partial_omega_squared: df (MS - MSE) / (df MS + (N - df) MSE), at least 0 (Olejnik & Algina 2003, Psychological
            Methods 8: 434-447); NaN for the residual.
        share_low, share_high: 95 % interval of the jackknife over seeds (t with S - 1 degrees of freedom), clipped to
            [0, 1]; NaN for fewer than three seeds and for folds, which are dependent.
        f, p_value: F test against the residual, which assumes equal variances of all interactions over seeds; NaN for
            the residual and for folds. Verdicts come from the contrasts, not from this test.
    """
    reason = _find_obstacle(study, outcomes)
    if not reason:
        is_there = np.isfinite(outcomes.scores)
        terms = _list_terms(len(outcomes.factors))
        axes = _encode_levels(outcomes)
        fit = _fit_terms(outcomes.scores, is_there, axes, terms)
        if fit.residual_freedom >= 1:
            return _table(outcomes, axes, terms, fit), ""
        reason = "the residual has no degrees of freedom"
    return pd.DataFrame(
        {name: pd.Series(dtype="object" if name == "source" else "float64") for name in COLUMNS}
    ), reason


def _find_obstacle(study: Study, outcomes: Outcomes) -> str:
    if study.design != "full" and len(study.factors) > 1:
        return "the one-at-a-time design does not combine levels of two factors"
    if len(study.seeds) == 1:
        return f"the study has one {study.unit}"
    if np.count_nonzero(np.isfinite(outcomes.scores).any(axis=1)) < 2:  # noqa: PLR2004 -- nothing to compare
        return "fewer than two cells have a value"
    if np.nanmax(np.abs(outcomes.scores), initial=0.0, where=np.isfinite(outcomes.scores)) > _LARGEST:
        return f"a value exceeds {_LARGEST:.0e} in magnitude, so its square overflows"
    return ""


def _list_terms(num_factors: int) -> list[Term]:
    axes = range(num_factors)
    return [*((axis,) for axis in axes), *itertools.combinations(axes, 2), ()]


def _encode_levels(outcomes: Outcomes) -> list[NDArray[np.int64]]:
    """Return for each factor the code of its level in each cell, (C,)."""
    codes = []
    for axis in range(len(outcomes.factors)):
        code_of = {name: code for code, name in enumerate(dict.fromkeys(cell[axis] for cell in outcomes.cells))}
        codes.append(np.array([code_of[cell[axis]] for cell in outcomes.cells]))
    return codes


def _table(outcomes: Outcomes, axes: list[NDArray[np.int64]], terms: list[Term], fit: _Fit) -> pd.DataFrame:
    from scipy.special import fdtrc

    num_trials = int(np.count_nonzero(np.isfinite(outcomes.scores)))
    low, high = _jackknife(outcomes, axes, terms, fit)
    shares = fit.shares(terms)
    mean_square = fit.residual / fit.residual_freedom
    rows = []
    for index, term in enumerate(terms):
        freedom, squares = fit.freedoms[term], fit.sums[term]
        mean = squares / freedom if freedom else math.nan
        total = squares + (num_trials - freedom) * mean_square
        omega = max(0.0, (squares - freedom * mean_square) / total) if freedom and total > 0 else math.nan
        f = mean / mean_square if mean_square > 0 and not outcomes.folds else math.nan
        rows.append(
            {
                "source": _source(outcomes, term),
                "sum_of_squares": squares,
                "df": freedom,
                "share": shares[index],
                "partial_omega_squared": omega,
                "share_low": low[index],
                "share_high": high[index],
                "f": f,
                "p_value": float(fdtrc(freedom, fit.residual_freedom, f)) if math.isfinite(f) else math.nan,
            }
        )
    rows.append(
        {
            "source": RESIDUAL,
            "sum_of_squares": fit.residual,
            "df": fit.residual_freedom,
            "share": shares[-1],
            **dict.fromkeys(("partial_omega_squared", "f", "p_value"), math.nan),
            "share_low": low[-1],
            "share_high": high[-1],
        }
    )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"df": "int64"})


def _source(outcomes: Outcomes, term: Term) -> str:
    if term:
        return " × ".join(outcomes.factors[axis] for axis in term)
    return outcomes.unit


def _jackknife(
    outcomes: Outcomes, axes: list[NDArray[np.int64]], terms: list[Term], fit: _Fit
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bounds of the intervals of the shares, (terms + 1,) each."""
    from scipy.special import stdtrit

    is_there = np.isfinite(outcomes.scores)
    seeds = np.flatnonzero(is_there.any(axis=0))
    num_seeds = len(seeds)
    if num_seeds < _MIN_SEEDS_FOR_JACKKNIFE or outcomes.folds:
        missing = np.full(len(terms) + 1, np.nan)
        return missing, missing
    without = []
    for seed in seeds:
        kept = seeds[seeds != seed]
        without.append(_fit_terms(outcomes.scores[:, kept], is_there[:, kept], axes, terms).shares(terms))
    spread = np.sqrt((num_seeds - 1) * np.var(without, axis=0))
    half = float(stdtrit(num_seeds - 1, (1 + CONFIDENCE) / 2)) * spread
    shares = fit.shares(terms)
    return np.clip(shares - half, 0, 1), np.clip(shares + half, 0, 1)


def _fit_terms(
    scores: NDArray[np.float64], is_there: NDArray[np.bool_], axes: list[NDArray[np.int64]], terms: list[Term]
) -> _Fit:
    """Compute the sums of squares of the available scores (C, S)."""
    sizes = [int(codes.max()) + 1 for codes in axes]
    scale = float(np.abs(scores[is_there]).max()) or 1.0
    values = scores / scale  # no square over- or underflows
    if is_there.all() and math.prod(sizes) == len(scores):
        fit = _fit_means(values, axes, sizes, terms)
    else:
        fit = _fit_regression(values, is_there, axes, sizes, terms)
    floor = _ROUNDING * max(fit.total, float(np.mean(values[is_there] ** 2)) * _ROUNDING)
    clean = {term: value * scale**2 if value > floor else 0.0 for term, value in fit.sums.items()}
    residual = fit.residual * scale**2 if fit.residual > floor else 0.0
    return _Fit(sums=clean, freedoms=fit.freedoms, residual=residual, residual_freedom=fit.residual_freedom)


def _fit_means(values: NDArray[np.float64], axes: list[NDArray[np.int64]], sizes: list[int], terms: list[Term]) -> _Fit:
    """Compute the sums of squares from means, on a complete grid."""
    num_cells, num_seeds = values.shape
    grid = np.empty([*sizes, num_seeds])
    grid[tuple(axes)] = values
    grid -= grid.mean()
    all_axes = tuple(range(grid.ndim))
    means = {(axis,): grid.mean(axis=tuple(other for other in all_axes if other != axis)) for axis in range(len(sizes))}
    sums: dict[Term, float] = {}
    freedoms: dict[Term, int] = {}
    for term in terms:
        if len(term) == 1:
            effect = means[term]
        elif term:
            one, other = term
            both = grid.mean(axis=tuple(axis for axis in all_axes if axis not in term))
            effect = both - means[(one,)][:, None] - means[(other,)][None, :]
        else:
            effect = grid.mean(axis=all_axes[:-1])
        sums[term] = float((effect**2).sum()) * grid.size / effect.size
        freedoms[term] = math.prod(sizes[axis] - 1 for axis in term) if term else num_seeds - 1
    residual = float((grid**2).sum()) - sum(sums.values())
    residual_freedom = num_cells * num_seeds - 1 - sum(freedoms.values())
    return _Fit(sums=sums, freedoms=freedoms, residual=max(residual, 0.0), residual_freedom=residual_freedom)


def _fit_regression(
    values: NDArray[np.float64],
    is_there: NDArray[np.bool_],
    axes: list[NDArray[np.int64]],
    sizes: list[int],
    terms: list[Term],
) -> _Fit:
    """Compute type II sums of squares from the normal equations, with sum-to-zero columns of cells and of seeds."""
    single = [_sum_to_zero(size)[codes] for size, codes in zip(sizes, axes, strict=True)]  # (C, levels - 1) each
    blocks = {
        term: single[term[0]]
        if len(term) == 1
        else (single[term[0]][:, :, None] * single[term[1]][:, None, :]).reshape(len(values), -1)
        for term in terms
        if term
    }
    of_cells = np.hstack([np.ones((len(values), 1)), *blocks.values()])  # (C, P - seeds)
    present = is_there.any(axis=0)
    of_seeds = _sum_to_zero(int(np.count_nonzero(present)))
    here = is_there[:, present]
    y = np.where(here, values[:, present], 0.0)
    y = np.where(here, y - y.sum() / np.count_nonzero(here), 0.0)
    counts = here.sum(axis=1).astype(np.float64)
    gram = np.block(
        [
            [of_cells.T @ (counts[:, None] * of_cells), of_cells.T @ here @ of_seeds],
            [(of_cells.T @ here @ of_seeds).T, of_seeds.T @ (here.sum(axis=0)[:, None] * of_seeds)],
        ]
    )
    moment = np.concatenate([of_cells.T @ y.sum(axis=1), of_seeds.T @ y.sum(axis=0)])
    total = float((y**2).sum())
    columns: dict[Term, NDArray[np.int64]] = {}
    at = 1
    for term, width in (*((term, block.shape[1]) for term, block in blocks.items()), ((), of_seeds.shape[1])):
        columns[term] = np.arange(at, at + width)
        at += width

    def explained(kept: Sequence[Term]) -> tuple[float, int]:
        index = np.concatenate([[0], *(columns[term] for term in kept)]).astype(np.int64)
        return _explain(gram[np.ix_(index, index)], moment[index])

    sums: dict[Term, float] = {}
    freedoms: dict[Term, int] = {}
    for term in terms:
        others = [other for other in terms if other != term and not (term and set(term) < set(other))]
        with_it, without = explained([*others, term]), explained(others)
        sums[term] = max(with_it[0] - without[0], 0.0)
        freedoms[term] = with_it[1] - without[1]
    all_terms, rank = explained(terms)
    return _Fit(
        sums=sums,
        freedoms=freedoms,
        residual=max(total - all_terms, 0.0),
        residual_freedom=int(np.count_nonzero(here)) - rank,
    )


def _sum_to_zero(size: int) -> NDArray[np.float64]:
    """Return the sum-to-zero coding (size, size - 1), orthogonal to the intercept in a balanced design."""
    return np.vstack([np.eye(size - 1), -np.ones((1, size - 1))])


def _explain(gram: NDArray[np.float64], moment: NDArray[np.float64]) -> tuple[float, int]:
    """Return the sum of squares explained by columns, and their rank; missing cells can make them dependent."""
    scale = np.sqrt(np.maximum(np.diag(gram), np.finfo(np.float64).tiny))
    scaled, right = gram / np.outer(scale, scale), moment / scale
    values, vectors = np.linalg.eigh(scaled)
    kept = values > 1e-9 * values[-1]
    projected = vectors[:, kept].T @ right
    return float((projected**2 / values[kept]).sum()), int(np.count_nonzero(kept))

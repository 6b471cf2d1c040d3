"""Colour scale of a map: one for all its panels, with the ticks of the colour bar."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.mechanism_maps import LOG, SHARE, SIGNED, Quantity

ZERO = "#8a8f98"  # colour of zero on a logarithmic scale
_SEQUENTIAL, _DIVERGING = "viridis", "RdBu_r"  # legible with any of the common colour deficiencies
_WIDE = 100  # ratio of values from which a linear scale would hide the smaller ones
_MOST_TICKS = 6
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Colour scale.

    positions: function from values of any shape to positions on the colour bar, 0 to 1.
    ticks: positions on the bar with their labels.
    colours: name of a colour map of matplotlib.
    kind: "logarithmic" or the like; empty for a linear scale.
    has_zero: True for a logarithmic scale if some values are 0; these have the colour ZERO.
    """

    positions: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ticks: tuple[tuple[float, str], ...]
    colours: str
    kind: str = ""
    has_zero: bool = False

    def to_pixels(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the colours of values (L, E) as (L, E, 4): red, green, blue and opacity. NaN is transparent."""
        import matplotlib as mpl
        from matplotlib.colors import to_rgba

        is_finite = np.isfinite(values)
        positions = np.where(is_finite, self.positions(np.where(is_finite, values, 1.0)), 0.0)
        colours = np.asarray(mpl.colormaps[self.colours](positions), dtype=np.float64)
        if self.has_zero:
            colours[values == 0] = to_rgba(ZERO)
        colours[~is_finite] = 0
        return np.round(colours * 255).astype(np.uint8)


def choose_scale(quantity: Quantity, values: NDArray[np.float64]) -> Scale:
    """Choose the scale for all values of a quantity.

    The scale is logarithmic for ratios and for positive values that span a factor of 100, symmetric about 0 for signed
    values, and 0 to 1 for shares. If 0 is on a scale on which the largest value would hide the others, the scale is
    linear near 0 and logarithmic beyond.

    Args:
        quantity: what is shown.
        values: of any shape, with NaN where there is no value; at least one is finite.
    """
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if quantity.kind == SHARE:
        return _linear(0.0, 1.0)
    if quantity.kind == SIGNED:
        return _around_zero(np.abs(finite[finite != 0]))
    is_positive = len(positive) > 0 and bool((finite >= 0).all())
    spans = is_positive and len(positive) == len(finite) and float(positive.min()) < float(positive.max()) / _WIDE
    if is_positive and (quantity.kind == LOG or spans):
        return _logarithmic(float(positive.min()), float(positive.max()), has_zero=len(positive) < len(finite))
    if is_positive and float(np.median(positive)) < float(positive.max()) / _WIDE:
        return _compressed(float(np.median(positive)), 0.0, float(positive.max()), _SEQUENTIAL)
    return _linear(min(float(finite.min()), 0.0), max(float(finite.max()), 0.0) or 1.0)


def format_short(value: float) -> str:
    """Return a number with two significant digits.

    >>> [format_short(value) for value in (0.0, 0.0123, 1234.5, -3.2e-7)]
    ['0', '0.012', '1.2e3', '−3.2e−7']
    """
    if value == 0:
        return "0"
    text = f"{value:.2g}"
    if "e" in text:
        digits, _, power = text.partition("e")
        text = f"{digits}e{int(power)}"
    return text.replace("-", "−")


def _linear(low: float, high: float) -> Scale:
    ticks = tuple((position, format_short(low + position * (high - low))) for position in _QUARTERS)
    return Scale(positions=lambda values: (values - low) / (high - low), ticks=ticks, colours=_SEQUENTIAL)


def _logarithmic(low: float, high: float, *, has_zero: bool) -> Scale:
    start, length = math.log10(low), math.log10(high) - math.log10(low)
    if length < 0.01:  # noqa: PLR2004 -- a single value: centre it on a scale of some width
        start, length = start - 0.3, length + 0.6
    powers = range(math.ceil(start), math.floor(start + length) + 1)
    if len(powers) < 3:  # noqa: PLR2004 -- too few labels
        positions = [0.0, 1 / 3, 2 / 3, 1.0]
    else:
        step = math.ceil(len(powers) / _MOST_TICKS)
        positions = [(power - start) / length for power in powers[::step]]
    return Scale(
        positions=lambda values: (np.log10(np.where(values > 0, values, low)) - start) / length,
        ticks=tuple((position, format_short(10 ** (start + position * length))) for position in positions),
        colours=_SEQUENTIAL,
        kind="logarithmic",
        has_zero=has_zero,
    )


def _around_zero(sizes: NDArray[np.float64]) -> Scale:
    """Return a scale that is symmetric about zero, blue below and red above."""
    largest = float(sizes.max()) if len(sizes) else 1.0
    middle = float(np.median(sizes)) if len(sizes) else 1.0
    if largest / middle > _WIDE:
        return _compressed(middle, -largest, largest, _DIVERGING)
    ticks = tuple((position, format_short((2 * position - 1) * largest)) for position in _QUARTERS)
    return Scale(positions=lambda values: (values / largest + 1) / 2, ticks=ticks, colours=_DIVERGING)


def _compressed(unit: float, low: float, high: float, colours: str) -> Scale:
    """Return a scale by the inverse hyperbolic sine: linear up to about `unit` around 0, logarithmic beyond."""
    start = math.asinh(low / unit)
    length = math.asinh(high / unit) - start

    def to_positions(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((np.arcsinh(values / unit) - start) / length)

    return Scale(
        positions=to_positions,
        ticks=tuple((position, format_short(math.sinh(start + position * length) * unit)) for position in _QUARTERS),
        colours=colours,
        kind="linear near 0, logarithmic beyond",
    )

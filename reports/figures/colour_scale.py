"""From numbers to colours: one scale for all panels of a map, with the ticks of its bar."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.mechanism_maps import LOG, SHARE, SIGNED, Quantity

ZERO = "#8a8f98"  # of a zero on a logarithmic scale, which has no place on it
_SEQUENTIAL, _DIVERGING = "viridis", "RdBu_r"  # both are read alike with any of the common colour deficiencies
_WIDE = 100  # from here on, the largest value would leave nothing to be seen of the others on a linear scale
_MOST_TICKS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A colour scale.

    places: from values, any shape, to places on the bar, 0 to 1.
    ticks: places with the numbers that stand there.
    words: what a reader has to know of it, such as "logarithmic"; nothing where it is linear.
    has_zero: whether it is logarithmic and some values are 0, which have a colour of their own.
    """

    places: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ticks: tuple[tuple[float, str], ...]
    colours: str
    words: str = ""
    has_zero: bool = False

    def pixels(self, values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The colours of values (L, E) as (L, E, 4), red, green, blue and opacity; NaN is transparent."""
        import matplotlib as mpl
        from matplotlib.colors import to_rgba

        is_there = np.isfinite(values)
        shares = np.where(is_there, self.places(np.where(is_there, values, 1.0)), 0.0)
        found = np.asarray(mpl.colormaps[self.colours](shares), dtype=np.float64)
        if self.has_zero:
            found[values == 0] = to_rgba(ZERO)
        found[~is_there] = 0
        return np.round(found * 255).astype(np.uint8)


def scale_of(quantity: Quantity, values: NDArray[np.float64]) -> Scale:
    """The scale on which all values of a quantity are shown; any shape, NaN where there is none, some finite.

    Logarithmic for what counts in factors, and for sizes of which the largest is a hundred times the smallest; around 0
    for what has a sign; 0 to 1 for shares. Where 0 is on the scale and the largest would hide the others, it is linear
    near 0 and logarithmic beyond.
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


def short(value: float) -> str:
    """A number with two digits.

    >>> [short(value) for value in (0.0, 0.0123, 1234.5, -3.2e-7)]
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
    ticks = tuple((place, short(low + place * (high - low))) for place in (0.0, 0.25, 0.5, 0.75, 1.0))
    return Scale(places=lambda values: (values - low) / (high - low), ticks=ticks, colours=_SEQUENTIAL)


def _logarithmic(low: float, high: float, *, has_zero: bool) -> Scale:
    start, length = math.log10(low), math.log10(high) - math.log10(low)
    if length < 0.01:  # noqa: PLR2004 -- one value, in the middle of a scale that has some width
        start, length = start - 0.3, length + 0.6
    powers = range(math.ceil(start), math.floor(start + length) + 1)
    if len(powers) < 3:  # noqa: PLR2004 -- too few to read other values by
        places = [0.0, 1 / 3, 2 / 3, 1.0]
    else:
        step = math.ceil(len(powers) / _MOST_TICKS)
        places = [(power - start) / length for power in powers[::step]]
    return Scale(
        places=lambda values: (np.log10(np.where(values > 0, values, low)) - start) / length,
        ticks=tuple((place, short(10 ** (start + place * length))) for place in places),
        colours=_SEQUENTIAL,
        words="logarithmic",
        has_zero=has_zero,
    )


def _around_zero(sizes: NDArray[np.float64]) -> Scale:
    """Blue below zero and red above, alike in strength."""
    largest = float(sizes.max()) if len(sizes) else 1.0
    middle = float(np.median(sizes)) if len(sizes) else 1.0
    if largest / middle > _WIDE:
        return _compressed(middle, -largest, largest, _DIVERGING)
    ticks = tuple((place, short((2 * place - 1) * largest)) for place in (0.0, 0.25, 0.5, 0.75, 1.0))
    return Scale(places=lambda values: (values / largest + 1) / 2, ticks=ticks, colours=_DIVERGING)


def _compressed(unit: float, low: float, high: float, colours: str) -> Scale:
    """Linear up to about `unit` on either side of 0, and logarithmic beyond, by the inverse of the hyperbolic sine."""
    start = math.asinh(low / unit)
    length = math.asinh(high / unit) - start

    def places(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((np.arcsinh(values / unit) - start) / length)

    return Scale(
        places=places,
        ticks=tuple((place, short(math.sinh(start + place * length) * unit)) for place in (0.0, 0.25, 0.5, 0.75, 1.0)),
        colours=colours,
        words="linear near 0, logarithmic beyond",
    )

"""Formatting of numbers and names, with rounding that keeps values on their side of thresholds."""

import math
from collections.abc import Iterable, Mapping, Sequence

ABSENT = "-"  # a missing number in a table
_MAX_DECIMALS = 9  # beyond this, exponents are used: 1.2e-11 instead of 0.000000000012
_SMALLEST_FACTOR, _LARGEST_FACTOR = -3, 6  # powers of ten between which a factor is written without exponent
_EXTRA_DECIMALS = 3  # at most, to keep a rounded number on its side of a threshold


def format_cell(levels: Mapping[str, str]) -> str:
    """Format the levels of a cell.

    >>> format_cell({"activation": "relu", "init": "he"})
    'activation=relu, init=he'
    """
    return ", ".join(f"{factor}={level}" for factor, level in levels.items())


def format_count(number: int, noun: str) -> str:
    """Format a number with its noun in singular or plural.

    >>> format_count(1, "seed"), format_count(0, "trial")
    ('1 seed', '0 trials')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_counts(counts: Mapping[str, int]) -> str:
    """Format the counts that are not zero.

    >>> format_counts({"failed": 1, "diverged": 0, "pending": 2})
    '1 failed, 2 pending'
    """
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number)


def choose_decimals(values: Iterable[float], half_width: float, thresholds: Sequence[float] = (0.0,)) -> int:
    """Choose the decimals of an interval: two significant digits of its half width, or more to respect thresholds.

    Args:
        values: the numbers that are printed together.
        half_width: of the interval. If it is 0 or not finite, the largest value gets four significant digits.
        thresholds: numbers such as 0 and the margin. Up to three decimals are added to keep every rounded value on its
            side of each threshold.

    >>> choose_decimals([0.0123, 0.0089, 0.0157], 0.0034)
    4
    >>> choose_decimals([0.0123, 0.00002, 0.0246], 0.0123)  # 0.000 would hide the sign
    5
    """
    finite = [value for value in values if math.isfinite(value)]
    if math.isfinite(half_width) and half_width > 0:
        decimals = 1 - math.floor(math.log10(half_width))
    else:
        largest = max((abs(value) for value in finite), default=0.0)
        decimals = 3 - math.floor(math.log10(largest)) if largest else 1
    decimals = max(decimals, 0)
    for more in range(_EXTRA_DECIMALS + 1):
        if all(_same_side(value, round(value, decimals + more), at) for value in finite for at in thresholds):
            return decimals + more
    return decimals


def _same_side(exact: float, rounded: float, threshold: float) -> bool:
    return (exact > threshold) == (rounded > threshold) and (exact < threshold) == (rounded < threshold)


def format_number(value: float, decimals: int, *, signed: bool = False) -> str:
    """Format a number with this many decimals, or `-` for NaN. A signed number keeps its sign if it rounds to zero.

    >>> [format_number(value, 3, signed=True) for value in (0.01234, -0.00001, 0.0)]
    ['+0.012', '-0.000', '0.000']
    >>> format_number(float("nan"), 4), format_number(1.24e-11, 12)
    ('-', '1.2e-11')
    """
    if math.isnan(value):
        return ABSENT
    sign = "+" if signed and value else ""
    if decimals > _MAX_DECIMALS or abs(value) >= 10**_MAX_DECIMALS:
        return f"{value:{sign}.{1 if decimals > _MAX_DECIMALS else 3}e}" if math.isfinite(value) else f"{value:{sign}}"
    return f"{value:{sign}.{decimals}f}"


def format_factor(power: float, digits: int) -> str:
    """Format ten to a power as a factor with this many significant digits, or `-` for NaN.

    >>> [format_factor(power, 3) for power in (3.0, -0.30103, 3.6, -7.25, 400.5, float("nan"))]
    ['×1,000', '×0.500', '×3,980', '×5.62e-8', '×3.16e400', '-']
    """
    if not math.isfinite(power):
        return ABSENT if math.isnan(power) else f"×{10**power:g}"
    exponent = math.floor(power)
    mantissa = round(10 ** (power - exponent), digits - 1)
    if mantissa >= 10:  # noqa: PLR2004 -- rounded up to the next power
        mantissa, exponent = 1.0, exponent + 1
    if _SMALLEST_FACTOR <= exponent < _LARGEST_FACTOR:
        return f"×{mantissa * 10.0**exponent:,.{max(digits - 1 - exponent, 0)}f}"
    return f"×{mantissa:.{digits - 1}f}e{exponent}"


def format_p_value(p_value: float, threshold: float = 0.05) -> str:
    """Format a p-value with three decimals, or as many as keep it on its side of the threshold.

    >>> [format_p_value(p) for p in (0.61234, 0.0499999, 0.00001, 1.0, float("nan"))]
    ['0.612', '0.0499999', '<0.001', '1.000', '-']
    """
    if math.isnan(p_value):
        return ABSENT
    smallest = 0.001
    if p_value < smallest:
        return f"<{smallest}"
    texts = (f"{p_value:.{decimals}f}" for decimals in range(3, 17))
    return next((text for text in texts if (float(text) < threshold) == (p_value < threshold)), repr(p_value))

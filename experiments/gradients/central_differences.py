"""Derivative by central differences, compared with a given one; errors are distinguished from rounding and kinks.

phi(t) is the loss after a displacement t. The error of its central difference (phi(h) - phi(-h)) / 2h is about
h^2 phi'''/6 plus the rounding of the loss over h; in double precision, h = 1e-5 makes both small.
"""

from collections.abc import Callable
from dataclasses import dataclass

STEP = 1e-5
SMALLER = (STEP / 10, STEP / 100)
ROUNDING = 50 * 2.0**-52
"""Relative rounding error of the loss: some sums of rounded numbers."""

SMALLEST_TOLERANCE = 1e-8
"""Below, the h^2 of a central difference would count as an error of the gradient."""

NEAR, NUM_NEAR = 1e-8, 8
"""Distance and number of points near 0, where single precision (1e-7) stays or jumps and double moves evenly."""

EQUAL, KINK, SMALL, WRONG, STEPS = "equal", "kink", "small", "wrong", "steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlopeComparison:
    """Comparison of two derivatives.

    outcome: equal, kink, small (both less than rounding), wrong, or steps (of phi).
    error: relative.
    """

    outcome: str
    differences: float
    error: float


@dataclass(frozen=True, slots=True)
class Slope:
    """Derivative of phi at 0.

    phi: loss after a displacement.
    at_zero: phi(0).
    tolerance: relative difference up to which derivatives agree.
    """

    phi: Callable[[float], float]
    at_zero: float
    tolerance: float

    def compare(self, backward: float) -> SlopeComparison:
        """Compare the derivative of a backward pass with the differences."""
        central = self._central(STEP)
        if max(abs(backward), abs(central)) <= self._noise(STEP):
            outcome = EQUAL if backward == central == 0 else SMALL
            return SlopeComparison(outcome=outcome, differences=central, error=0.0)
        error = _relative(backward, central)
        if self._agree(backward, central, STEP):
            return SlopeComparison(outcome=EQUAL, differences=central, error=error)
        for step in SMALLER:
            smaller = self._central(step)
            is_precise = self._noise(step) < abs(backward - central) / 10
            if is_precise and self._agree(backward, smaller, step):
                outcome = STEPS if self._moves_in_steps() else KINK
                return SlopeComparison(outcome=outcome, differences=smaller, error=_relative(backward, smaller))
        outcome = STEPS if self._moves_in_steps() else KINK if self._is_between_sides(backward) else WRONG
        return SlopeComparison(outcome=outcome, differences=central, error=0.0 if outcome == KINK else error)

    def _is_between_sides(self, backward: float) -> bool:
        """Return whether phi has a kink at 0, and the derivative is one of its two sides or between them.

        With a smaller step the two sides of a smooth loss become equal; those of a kink do not.
        """
        wide = abs(self._side(STEP) - self._side(-STEP))
        step = SMALLER[0]
        right, left = self._side(step), self._side(-step)
        slack = self.tolerance * max(abs(right), abs(left)) + 2 * self._noise(step)
        is_kink = abs(right - left) > max(wide / 2, slack)
        return is_kink and min(left, right) - slack <= backward <= max(left, right) + slack

    def _moves_in_steps(self) -> bool:
        """Return whether phi is a staircase on both sides of 0, as in single precision. A kink is on one side only."""
        expected = NUM_NEAR * NEAR * min(abs(self._side(STEP)), abs(self._side(-STEP)))
        return all(self._is_staircase(step, expected) for step in (NEAR, -NEAR))

    def _is_staircase(self, step: float, expected: float) -> bool:
        """Return whether phi stays constant, or its third differences exceed rounding; a smooth phi does neither."""
        values = [self.phi(number * step) for number in range(1, NUM_NEAR + 1)]
        rounding = self._noise(1)
        windows = zip(values, values[1:], values[2:], values[3:], strict=False)
        third = max(abs(d - 3 * c + 3 * b - a) for a, b, c, d in windows)
        stays = max(values) - min(values) <= rounding and expected > 10 * rounding
        return third > 10 * rounding or stays

    def _central(self, step: float) -> float:
        return (self.phi(step) - self.phi(-step)) / (2 * step)

    def _side(self, step: float) -> float:
        return (self.phi(step) - self.at_zero) / step

    def _noise(self, step: float) -> float:
        return ROUNDING * max(abs(self.at_zero), 1e-3) / step

    def _agree(self, backward: float, central: float, step: float) -> bool:
        larger = max(abs(backward), abs(central))
        return abs(backward - central) <= self.tolerance * larger + self._noise(step)


def _relative(one: float, other: float) -> float:
    larger = max(abs(one), abs(other))
    return abs(one - other) / larger if larger > 0 else 0.0

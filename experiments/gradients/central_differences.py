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

EQUAL, KINK, SMALL, WRONG, DISCONTINUOUS = "equal", "kink", "small", "wrong", "discontinuous"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlopeComparison:
    """Comparison of two derivatives.

    outcome: equal, kink, small (both less than rounding), wrong, or discontinuous (phi is piecewise constant).
    numerical_gradient: derivative by finite differences.
    error: relative.
    """

    outcome: str
    numerical_gradient: float
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

    def compare(self, autograd_gradient: float) -> SlopeComparison:
        """Compare a derivative from autograd with finite differences."""
        central = self._compute_central_difference(STEP)
        if max(abs(autograd_gradient), abs(central)) <= self._compute_rounding_error(STEP):
            outcome = EQUAL if autograd_gradient == central == 0 else SMALL
            return SlopeComparison(outcome=outcome, numerical_gradient=central, error=0.0)
        error = _compute_relative_difference(autograd_gradient, central)
        if self._agree(autograd_gradient, central, STEP):
            return SlopeComparison(outcome=EQUAL, numerical_gradient=central, error=error)
        for step in SMALLER:
            smaller = self._compute_central_difference(step)
            is_precise = self._compute_rounding_error(step) < abs(autograd_gradient - central) / 10
            if is_precise and self._agree(autograd_gradient, smaller, step):
                outcome = DISCONTINUOUS if self._is_discontinuous() else KINK
                return SlopeComparison(
                    outcome=outcome,
                    numerical_gradient=smaller,
                    error=_compute_relative_difference(autograd_gradient, smaller),
                )
        is_discontinuous = self._is_discontinuous()
        is_kink = not is_discontinuous and self._is_between_sides(autograd_gradient)
        outcome = DISCONTINUOUS if is_discontinuous else KINK if is_kink else WRONG
        return SlopeComparison(outcome=outcome, numerical_gradient=central, error=0.0 if outcome == KINK else error)

    def _is_between_sides(self, autograd_gradient: float) -> bool:
        """Return whether phi has a kink at 0, and the derivative is one of its two sides or between them.

        With a smaller step the two sides of a smooth loss become equal; those of a kink do not.
        """
        wide = abs(self._compute_one_sided_difference(STEP) - self._compute_one_sided_difference(-STEP))
        step = SMALLER[0]
        right, left = self._compute_one_sided_difference(step), self._compute_one_sided_difference(-step)
        slack = self.tolerance * max(abs(right), abs(left)) + 2 * self._compute_rounding_error(step)
        is_kink = abs(right - left) > max(wide / 2, slack)
        return is_kink and min(left, right) - slack <= autograd_gradient <= max(left, right) + slack

    def _is_discontinuous(self) -> bool:
        """Return whether phi is a staircase on both sides of 0, as in single precision. A kink is on one side only."""
        smallest_slope = min(abs(self._compute_one_sided_difference(step)) for step in (STEP, -STEP))
        expected = NUM_NEAR * NEAR * smallest_slope
        return all(self._is_staircase(step, expected) for step in (NEAR, -NEAR))

    def _is_staircase(self, step: float, expected: float) -> bool:
        """Return whether phi stays constant, or its third differences exceed rounding; a smooth phi does neither."""
        values = [self.phi(number * step) for number in range(1, NUM_NEAR + 1)]
        rounding = self._compute_rounding_error(1)
        windows = zip(values, values[1:], values[2:], values[3:], strict=False)
        third = max(abs(d - 3 * c + 3 * b - a) for a, b, c, d in windows)
        stays = max(values) - min(values) <= rounding and expected > 10 * rounding
        return third > 10 * rounding or stays

    def _compute_central_difference(self, step: float) -> float:
        return (self.phi(step) - self.phi(-step)) / (2 * step)

    def _compute_one_sided_difference(self, step: float) -> float:
        return (self.phi(step) - self.at_zero) / step

    def _compute_rounding_error(self, step: float) -> float:
        return ROUNDING * max(abs(self.at_zero), 1e-3) / step

    def _agree(self, autograd_gradient: float, central: float, step: float) -> bool:
        larger = max(abs(autograd_gradient), abs(central))
        return abs(autograd_gradient - central) <= self.tolerance * larger + self._compute_rounding_error(step)


def _compute_relative_difference(one: float, other: float) -> float:
    larger = max(abs(one), abs(other))
    return abs(one - other) / larger if larger > 0 else 0.0

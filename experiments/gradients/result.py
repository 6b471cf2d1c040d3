"""Results of a gradient check, parameter by parameter. No torch."""

from dataclasses import dataclass

AGREES, DIFFERS, TOO_SMALL = "agrees", "differs", "too small to tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """Largest difference of two derivatives of a parameter.

    index: index of the entry; None for the random direction.
    autograd_gradient: derivative from the backward pass.
    numerical_gradient: derivative by finite differences.
    """

    index: tuple[int, ...] | None
    autograd_gradient: float
    numerical_gradient: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCheck:
    """Check of one parameter tensor.

    size: number of entries; num_checked: number of entries that were compared one by one.
    num_kinks: of these, on or next to a kink of the loss, such as ReLU at 0, and right on one side of it.
    num_too_small: of these, with both derivatives smaller than the rounding error of finite differences.
    error: largest relative difference |autograd - numerical| / max(|autograd|, |numerical|) of an entry. It may be
        above the tolerance although they agree, if an entry is so small that rounding explains it.
    direction_error: relative difference along one random direction, in which all entries move at once.
    verdict: agrees, differs, or too small to tell.
    worst: the entry of `error`, or the direction if only that differs; None if all are exactly equal.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    num_checked: int
    num_kinks: int
    num_too_small: int
    error: float
    direction_error: float
    verdict: str
    worst: Worst | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientCheck:
    """Check of all parameters of a module on one batch.

    loss: of the batch, in double precision.
    tolerance: relative difference up to which derivatives agree.
    num_evaluations: number of times that the loss was computed.
    later_hooks: hooks of the module that may change gradients after the backward pass; they are not checked.
    """

    module: str
    loss: float
    tolerance: float
    num_evaluations: int
    seconds: float
    parameters: tuple[ParameterCheck, ...]
    later_hooks: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Return whether no parameter differs."""
        return all(parameter.verdict != DIFFERS for parameter in self.parameters)

"""What a comparison of gradients found, parameter by parameter. No torch."""

from dataclasses import dataclass

AGREES, DIFFERS, TOO_SMALL = "agrees", "differs", "too small to tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """Where the two derivatives of a parameter are furthest apart: an entry, or index None, the random direction."""

    index: tuple[int, ...] | None
    backward: float
    differences: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCheck:
    """One parameter tensor.

    size: how many entries it has; num_checked: how many were compared one by one.
    num_kinks: how many of those lie on or beside a kink of the loss, as of ReLU at 0, and are right on a side of it.
    num_too_small: of how many both derivatives are less than what rounding makes of differences.
    error: the largest relative difference |backward - differences| / max(|backward|, |differences|) of an entry. It may
        be above the tolerance although they agree, where an entry is so small that rounding explains it.
    direction_error: the same of the derivative along one random direction, in which all entries move at once.
    verdict: agrees, differs, or too small to tell.
    worst: the entry of `error`, or the direction where only that differs; None where everything is exactly equal.
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
    """All parameters of a module on one batch.

    loss: of the batch, in double precision.
    tolerance: the relative difference up to which derivatives agree.
    num_evaluations: how often the loss was computed.
    changed_later: hooks of the module that may change gradients after the backward pass, which is what is compared.
    """

    module: str
    loss: float
    tolerance: float
    num_evaluations: int
    seconds: float
    parameters: tuple[ParameterCheck, ...]
    changed_later: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether no parameter differs."""
        return all(parameter.verdict != DIFFERS for parameter in self.parameters)

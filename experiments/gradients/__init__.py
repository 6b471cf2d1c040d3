"""Gradient checks: back-propagation against differences of the loss. Imports torch only when a check runs."""

from .check_gradients import check_gradients, check_trial
from .result import GradientCheck, ParameterCheck

__all__ = ["GradientCheck", "ParameterCheck", "check_gradients", "check_trial"]

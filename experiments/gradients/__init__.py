"""Whether a module's gradient is that of its loss: back-propagation against differences. No torch until it is asked."""

from .check_gradients import check_gradients, check_trial
from .result import GradientCheck, ParameterCheck

__all__ = ["GradientCheck", "ParameterCheck", "check_gradients", "check_trial"]

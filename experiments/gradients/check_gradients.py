"""Gradient checks of a module on a batch, or of a trial of a study. Torch is imported when they are called."""

from typing import TYPE_CHECKING, Any

from .result import GradientCheck

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from experiments.trials.trial import Trial

NUM_ENTRIES = 20
"""Entries of each tensor that are compared one by one; the random direction moves all of them."""

TOLERANCE = 1e-4


def check_gradients(
    module: "LightningModule",
    batch: Any,
    *,
    num_entries: int = NUM_ENTRIES,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> GradientCheck:
    """Compare the gradients of a module's backward pass with central differences of its training loss.

    The check runs on a clone in double precision on the CPU. The loss is the one that `training_step` returns for the
    batch. Before each evaluation buffers are restored and the generators restarted, so dropout has one mask. Some
    entries of each parameter tensor are moved one by one, and all entries together along one random direction, which
    costs two evaluations and shows an error in any entry. If a derivative differs, it is compared again with smaller
    steps and on both sides: if the loss has a kink, such as ReLU at 0, and the backward pass is right on one side of it
    or in between, that is no error.

    Args:
        module: any LightningModule with automatic optimization.
        batch: from its training loader.
        num_entries: to check in each tensor; all of a smaller one.
        tolerance: relative difference up to which two derivatives agree.
        seed: of the choice of entries, the direction, and the draws of the step.

    Raises:
        InputError: the module has no loss to differentiate (manual optimization, a step without a loss, a loss that is
            not finite), its loss changes from call to call or is piecewise constant, or it does not run in double
            precision.

    >>> import torch
    >>> from lit_models import MLP
    >>> module = MLP(hidden=[5], input_shape=(4,), num_classes=3)
    >>> check_gradients(module, (torch.randn(8, 4), torch.arange(8) % 3)).agrees
    True
    """
    from .comparison import compare_gradients

    return compare_gradients(module, batch, num_entries=num_entries, tolerance=tolerance, seed=seed)


def check_trial(
    trial: "Trial", *, num_entries: int = NUM_ENTRIES, tolerance: float = TOLERANCE, seed: int = 0
) -> GradientCheck:
    """Check the gradients of a trial's module at its initial values, on the first batch of its training data.

    Hooks between the construction of a module and its first batch, such as pretraining, do not run.

    Raises:
        InputError: see `check_gradients`.
    """
    from .trial_start import prepare_trial

    module, batch = prepare_trial(trial)
    return check_gradients(module, batch, num_entries=num_entries, tolerance=tolerance, seed=seed)

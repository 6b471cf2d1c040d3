"""The two ways to ask: for a module and a batch, or for a trial of a study. Torch is imported when they are called."""

from typing import TYPE_CHECKING, Any

from .result import GradientCheck

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from experiments.trials.trial import Trial

NUM_ENTRIES = 20
"""Of each tensor that are compared one by one; the random direction moves all of them."""

TOLERANCE = 1e-4


def check_gradients(
    module: "LightningModule",
    batch: Any,
    *,
    num_entries: int = NUM_ENTRIES,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> GradientCheck:
    """Compare what a module's backward pass leaves in its parameters with central differences of its training loss.

    It works on a copy in double precision on the CPU. The loss is what `training_step` returns for the batch; before
    each evaluation buffers are put back and the generators restarted, so dropout has one mask. Of each parameter tensor
    some entries are moved by themselves, and all of them together along one random direction, which costs two
    evaluations and sees an error in any entry. A derivative that differs is looked at again with smaller steps and from
    either side: where the loss has a kink there, as ReLU at 0, and the backward pass is right on one side of it or
    between, that is no error.

    Arguments:
        module: any LightningModule that optimizes automatically.
        batch: what its training loader gives.
        num_entries: how many of each tensor; all of a smaller one.
        tolerance: the relative difference up to which two derivatives agree.
        seed: of which entries, of the direction, and of what the step draws.

    Raises:
        InputError: when the module has no loss to differentiate (manual optimization, a step that returns none, a loss
            that is not finite), its loss changes from call to call or moves in steps, or it does
            not run in double precision.

    >>> import torch
    >>> from lit_models import MLP
    >>> module = MLP(hidden=[5], input_shape=(4,), num_classes=3)
    >>> check_gradients(module, (torch.randn(8, 4), torch.arange(8) % 3)).agrees
    True
    """
    from .comparison import checked

    return checked(module, batch, num_entries=num_entries, tolerance=tolerance, seed=seed)


def check_trial(
    trial: "Trial", *, num_entries: int = NUM_ENTRIES, tolerance: float = TOLERANCE, seed: int = 0
) -> GradientCheck:
    """`check_gradients` of a trial's module where it starts, on the first batch of its training data.

    What a module does between its construction and its first batch, such as pretraining, is left out.

    Raises:
        InputError: as for `check_gradients`.
    """
    from .trial_start import start_of

    module, batch = start_of(trial)
    return check_gradients(module, batch, num_entries=num_entries, tolerance=tolerance, seed=seed)

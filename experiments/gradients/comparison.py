"""Comparison of autograd gradients with finite differences, on a clone of the module in double precision."""

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from experiments.errors import InputError
from experiments.training.module_clone import clone_module
from experiments.training.seeding import derive_seed, preserve_generators, seed_global_generators
from experiments.training.step_harness import call_step, default_dtype, describe_error, find_loss, replace_log
from experiments.training.trainer_stub import NeedsTrainer, TrainerStub

from .central_differences import (
    DISCONTINUOUS,
    EQUAL,
    KINK,
    NEAR,
    SMALL,
    SMALLEST_TOLERANCE,
    WRONG,
    Slope,
    SlopeComparison,
)
from .precision import PrecisionRecorder
from .result import AGREES, DIFFERS, TOO_SMALL, GradientCheck, ParameterCheck, Worst

_LATER_HOOKS = ("on_after_backward", "on_before_optimizer_step", "configure_gradient_clipping")
"""Hooks that may change gradients after the backward pass."""


def compare_gradients(
    module: LightningModule, batch: Any, *, num_entries: int, tolerance: float, seed: int
) -> GradientCheck:
    """Compare autograd gradients with finite differences; arguments as in `check_gradients`."""
    started = time.perf_counter()
    if num_entries < 1:
        raise InputError(f"num_entries is {num_entries}: at least 1 is needed")
    if not SMALLEST_TOLERANCE <= tolerance < 1:
        raise InputError(
            f"tolerance is {tolerance:g}: a number from {SMALLEST_TOLERANCE:g}, the precision of finite differences, "
            "to below 1 is needed"
        )
    with preserve_generators():
        loss_function = LossFunction(module, batch, seed)
        gradients, loss = loss_function.compute_gradients()
        generator = torch.Generator().manual_seed(derive_seed(seed, "entries"))
        parameters = tuple(
            _check_parameter(loss_function, name, gradient, loss, num_entries, tolerance, generator)
            for name, gradient in gradients.items()
        )
    return GradientCheck(
        module=type(module).__name__,
        loss=loss,
        tolerance=tolerance,
        num_evaluations=loss_function.num_evaluations,
        seconds=time.perf_counter() - started,
        parameters=parameters,
        later_hooks=tuple(hook for hook in _LATER_HOOKS if is_overridden(hook, module, LightningModule)),
    )


class LossFunction:
    """Training loss of one batch as a function of the parameters, deterministic between calls.

    Args:
        module: the module to clone.
        batch: the batch to copy to the CPU; floating-point tensors become float64.
        seed: the global generators restart from it before each evaluation.
    """

    def __init__(self, module: LightningModule, batch: Any, seed: int) -> None:
        self.name = type(module).__name__
        if not module.automatic_optimization:
            raise InputError(
                f"{self.name} uses manual optimization (automatic_optimization = False), so there is no single loss "
                "whose gradient could be compared; compare a subclass whose training_step returns the loss"
            )
        self.num_evaluations = 0
        self._seed = seed
        trainer = TrainerStub(1, 1) if vars(module)["_trainer"] is None else module.trainer
        try:
            self._module = clone_module(module, trainer).cpu().double()
        except Exception as error:
            raise InputError(
                f"{self.name} cannot be copied, and the check runs on a copy: {describe_error(error)}"
            ) from error
        _copy_gradient_hooks(module, self._module)
        replace_log(self._module, lambda _: True)  # logged values are dropped
        self._batch = apply_to_collection(batch, Tensor, _copy_in_double)
        self._buffers = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
        self.parameters = {
            name: parameter for name, parameter in self._module.named_parameters() if parameter.requires_grad
        }
        if not self.parameters:
            raise InputError(f"{self.name} has no trainable parameters")
        if names := [name for name, parameter in self.parameters.items() if parameter.is_complex()]:
            raise InputError(f"{self.name}: {', '.join(names)}: only real parameters are supported; freeze these")
        for parameter in self.parameters.values():
            parameter.data = parameter.data.contiguous()

    def compute_gradients(self) -> tuple[dict[str, Tensor], float]:
        """Return the gradients of the module's own `backward`, zeros for parameters without one, and the loss."""
        self._call_user_code("on_train_batch_start", lambda: self._module.on_train_batch_start(self._batch, 0))
        self._module.zero_grad()
        with PrecisionRecorder() as recorder:
            loss = self._compute_loss()
        if function := recorder.find_function(loss):
            raise InputError(
                f"{self.name}: the loss is not computed in double precision, which finite differences need: "
                f"{function}; remove hard-coded dtypes, such as x.float(), for this check"
            )
        value = loss.item()
        if not loss.isfinite():
            raise InputError(f"{self.name}: the loss of the batch is {value:g}, and only a finite one has a gradient")
        if not loss.requires_grad:
            raise InputError(f"{self.name}: the loss does not depend on any parameter that is trained")
        self._call_user_code("backward", lambda: self._module.backward(loss))
        gradients = {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach().to_dense().clone()
            for name, parameter in self.parameters.items()
        }
        again = self.evaluate()
        if abs(again - value) > 1e-12 * max(abs(value), 1):
            raise InputError(
                f"{self.name}: training_step gives {value!r} and then {again!r} for the same parameters, batch and "
                "state of the generators, so finite differences are unreliable; remove state kept between calls"
            )
        return gradients, value

    def evaluate(self) -> float:
        """Compute the loss at the current parameters."""
        with torch.no_grad():
            return self._compute_loss().item()

    def _compute_loss(self) -> Tensor:
        self.num_evaluations += 1
        with torch.no_grad():
            for name, buffer in self._module.named_buffers():
                if name in self._buffers:
                    buffer.copy_(self._buffers[name])
        seed_global_generators(self._seed)
        output = self._call_user_code("training_step", lambda: call_step(self._module, "training_step", self._batch, 0))
        loss = find_loss(output)
        if loss is None or loss.numel() != 1:
            found = "no loss" if loss is None else f"a loss of {loss.numel()} numbers"
            raise InputError(
                f"{self.name}: training_step returns {found} for the first batch; a loss of one number, or a "
                "dictionary with it as `loss`, is needed"
            )
        return loss.squeeze()

    def _call_user_code(self, hook_name: str, function: Callable[[], Any]) -> Any:
        try:
            with default_dtype(torch.float64):
                return function()
        except NeedsTrainer as finding:
            raise InputError(f"{self.name}: {finding} in {hook_name}, and this check has no Trainer") from finding
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{self.name}: {hook_name} raises {describe_error(error)} (this check runs in double precision, which "
                "finite differences need, and without a Trainer, so hooks such as on_fit_start have not run)"
            ) from error


def _check_parameter(
    loss_function: LossFunction,
    name: str,
    gradient: Tensor,
    loss: float,
    num_entries: int,
    tolerance: float,
    generator: torch.Generator,
) -> ParameterCheck:
    parameter = loss_function.parameters[name].detach()
    flat, start, flat_gradient = parameter.view(-1), parameter.clone(), gradient.reshape(-1)
    chosen = torch.randperm(len(flat), generator=generator)[:num_entries].tolist()

    def compare(move: Callable[[float], Any], autograd_gradient: float) -> SlopeComparison:
        def phi(step: float) -> float:
            move(step)
            try:
                return loss_function.evaluate()
            finally:
                parameter.copy_(start)

        found = Slope(phi, loss, tolerance).compare(autograd_gradient)
        if found.outcome == DISCONTINUOUS:
            raise InputError(
                f"{loss_function.name}: the loss is piecewise constant near the current {name} (probed at distance "
                f"{NEAR:g}), which happens if part of it is computed in single precision (x.float(), NumPy's float32) "
                "or rounded, so finite differences are unreliable; remove this for the check"
            )
        return found

    entries = {
        entry: compare(lambda step, at=entry: flat[at].add_(step), flat_gradient[entry].item())  # type: ignore[misc]
        for entry in chosen
    }
    direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    direction /= max(direction.norm().item(), 1e-300)
    autograd_gradient = (gradient * direction).sum().item()
    directional = compare(lambda step: parameter.add_(direction, alpha=step), autograd_gradient)
    outcomes = [*(each.outcome for each in entries.values()), directional.outcome]
    verdict = DIFFERS if WRONG in outcomes else AGREES if {EQUAL, KINK} & set(outcomes) else TOO_SMALL
    worst_at = max(chosen, key=lambda at: (entries[at].outcome == WRONG, entries[at].error), default=None)
    worst = None
    if directional.outcome == WRONG and (worst_at is None or entries[worst_at].outcome != WRONG):
        worst = Worst(
            index=None, autograd_gradient=autograd_gradient, numerical_gradient=directional.numerical_gradient
        )
    elif worst_at is not None and entries[worst_at].error > 0:
        index = tuple(int(axis) for axis in torch.unravel_index(torch.tensor(worst_at), parameter.shape))
        worst = Worst(
            index=index,
            autograd_gradient=flat_gradient[worst_at].item(),
            numerical_gradient=entries[worst_at].numerical_gradient,
        )
    return ParameterCheck(
        name=name,
        shape=tuple(parameter.shape),
        size=parameter.numel(),
        num_checked=len(chosen),
        num_kinks=sum(each.outcome == KINK for each in entries.values()),
        num_too_small=sum(each.outcome == SMALL for each in entries.values()),
        error=max((each.error for each in entries.values()), default=0.0),
        direction_error=directional.error,
        verdict=verdict,
        worst=worst,
    )


def _copy_in_double(x: Tensor) -> Tensor:
    x = x.detach().cpu()
    return x.double() if x.is_floating_point() else x.clone()


def _copy_gradient_hooks(module: LightningModule, clone: LightningModule) -> None:
    """Copy the hooks of `Tensor.register_hook` to the parameters of a clone; a deep copy has none."""
    parameters = dict(clone.named_parameters())
    for name, parameter in module.named_parameters():
        for hook in (getattr(parameter, "_backward_hooks", None) or {}).values():
            parameters[name].register_hook(hook)  # type: ignore[no-untyped-call]

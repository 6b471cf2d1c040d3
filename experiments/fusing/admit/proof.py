"""Proof of a group: its fused steps are compared with the unfused steps of each of its trials.

Both run in double precision, whatever the study trains in, so that rounding is far smaller than the effect of a
hyperparameter, and on copies, so that the proof leaves no trace in training. Each trial is compared, since a seed may
make it differ from the others of its cell, and with dropout on, since each trial has its own masks.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from experiments.fusing.fit.fused_optimizers import FusedOptimizers, read_optimizer_settings
from experiments.fusing.fit.setup import GroupSetup
from experiments.fusing.fit.step import EVALUATION_STEPS, StackedModels
from experiments.fusing.fit.step_capture import CapturedLog, run_unfused_step
from experiments.fusing.reading.nested_tensors import map_tensors, select_row
from experiments.fusing.reasons import NotFusable
from experiments.training.epoch_metrics import compute_epoch_metrics
from experiments.training.module_clone import clone_module
from experiments.training.seeding import seed_global_generators
from experiments.training.step_harness import call_step, default_dtype, first_size
from experiments.training.streams import TrialStreams

NUM_STEPS = 2
"""Training steps that are compared; the second depends on the update of the first."""

_NUM_EXAMPLES = 32
"""Examples of the first batch of validation and test that are compared."""

_TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-7}
"""Largest difference that counts as rounding, relative to the largest element of each tensor. Single precision is for
modules that do not work in double; only their losses and metrics are compared."""

_MIN_SCALE = 1e-3
"""Smallest value of that largest element, for tensors that are nearly zero."""


class Proof:
    """Comparison of T fused trials with their unfused models.

    Args:
        setup: its models are in the state from which training starts.
        stacked: the fused trials.
    """

    def __init__(self, setup: GroupSetup, stacked: StackedModels) -> None:
        self._stacked = stacked
        self._models, self._rows, self._clipping = setup.models, setup.rows, setup.clipping
        self._trainer_stub = setup.trainer_stub

    def check_training(self, batches: Sequence[Any]) -> None:
        """Compare the first steps of the first epoch. batches: tensors (R, B, ...), one batch for each step.

        Raises:
            NotFusable: a step differs; the message names the trial and the value.
        """
        self._compare_in_double(partial(self._compare_training, batches))

    def check_evaluation(self, split: str, batch: Any) -> None:
        """Compare a validation or test of one batch in the current state of training. batch: tensors (R, B, ...).

        Raises:
            NotFusable: a metric differs; the message names the trial and the metric.
        """
        size = first_size(select_row(batch, 0))
        few = map_tensors(lambda x: x[:, :_NUM_EXAMPLES] if x.dim() > 1 and x.shape[1] == size else x, batch)
        self._compare_in_double(partial(self._compare_evaluation, split, few))

    def _compare_in_double(self, compare: Callable[[torch.dtype], None]) -> None:
        """Compare in double precision, or in the group's own type if the module does not work in double."""
        dtype = next(iter(self._stacked.parameters.values())).dtype
        try:
            compare(torch.float64)
        except (RuntimeError, TypeError):  # a type is written in the module's code
            if dtype == torch.float64:
                raise
            compare(dtype)

    def _compare_training(self, batches: Sequence[Any], dtype: torch.dtype) -> None:
        cast = [map_tensors(partial(_cast, dtype=dtype), batch) for batch in batches]
        seeds = [TrialStreams(trial.seed).dropout_seed(0) for trial in self._rows.trials]
        with self._stacked.on_copies(dtype):
            fused = self._run_fused_steps(cast, seeds)
            state = self._stacked.parameters | self._stacked.buffers
        for index, seed in enumerate(seeds):
            own_batches = [select_row(batch, self._rows.find_row(index)) for batch in cast]
            model = self._clone_model(index, dtype)
            with default_dtype(dtype):
                unfused = self._run_unfused_steps(model, own_batches, seed)
            pairs = _pair_values(unfused, {name: values[index] for name, values in fused.items()})
            is_finite = all(bool(value.isfinite().all()) for _, value, _ in pairs)
            if dtype == torch.float64 and is_finite:
                tensors = [*model.named_parameters(), *model.named_buffers()]
                pairs += [(f"{name} after {NUM_STEPS} steps", x.detach(), state[name][index]) for name, x in tensors]
            self._check_pairs(index, pairs, dtype)
        self._trainer_stub.reset_steps()

    def _run_fused_steps(self, batches: Sequence[Any], seeds: Sequence[int]) -> dict[str, Tensor]:
        """Return losses and logged values of all steps, (T,) each."""
        stacked = self._stacked
        self._trainer_stub.reset_steps()
        settings = [read_optimizer_settings(model) for model in self._models]
        optimizers = FusedOptimizers(self._models, settings, stacked.parameters)
        stacked.noise.restart(seeds, next(iter(stacked.parameters.values())).device)
        values: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            loss, logged = stacked.train_step(batch, number)
            torch.autograd.backward(loss.sum())
            self._clipping.clip_fused(stacked.parameters.values())
            optimizers.step()
            self._trainer_stub.advance_step()
            values |= {f"the loss of step {number}": loss.detach()}
            values |= {f"{name} of step {number}": entry.value for name, entry in logged.items()}
        return values

    def _run_unfused_steps(self, model: LightningModule, batches: Sequence[Any], seed: int) -> dict[str, Tensor]:
        """Return losses and logged values of all steps of one trial."""
        settings = read_optimizer_settings(model)
        seed_global_generators(seed)
        self._trainer_stub.reset_steps()
        values: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            settings.optimizer.zero_grad()
            loss, logged = run_unfused_step(model, batch, number)
            parameters = [parameter for group in settings.optimizer.param_groups for parameter in group["params"]]
            self._clipping.clip_unfused(parameters)
            settings.optimizer.step()
            settings.step_scheduler("step")
            self._trainer_stub.advance_step()
            values |= {f"the loss of step {number}": loss}
            values |= {f"{name} of step {number}": value for name, value in logged.items()}
        return values

    def _compare_evaluation(self, split: str, batch: Any, dtype: torch.dtype) -> None:
        batch = map_tensors(partial(_cast, dtype=dtype), batch)
        trained = self._stacked.parameters | self._stacked.buffers
        with self._stacked.on_copies(dtype):
            results = self._stacked.eval_step(EVALUATION_STEPS[split], batch, 0, self._stacked.shape[0])
        for index in range(len(self._models)):
            model = self._clone_model(index, dtype)
            with torch.no_grad(), default_dtype(dtype):
                for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                    tensor.copy_(trained[name][index])
                model.eval()
                unfused = _evaluate_unfused(model, split, select_row(batch, self._rows.find_row(index)))
                fused = {name: entry.value[index] for name, entry in results.logged.items()}
                if outputs := {name: values[index] for name, values in results.outputs.items()}:
                    clone = clone_module(self._models[index], self._trainer_stub)
                    fused |= compute_epoch_metrics(clone, split, outputs)
            self._check_pairs(index, _pair_values(unfused, fused), dtype)

    def _clone_model(self, index: int, dtype: torch.dtype) -> LightningModule:
        return clone_module(self._models[index], self._trainer_stub).to(dtype)

    def _check_pairs(self, index: int, pairs: Sequence[tuple[str, Tensor, Tensor]], dtype: torch.dtype) -> None:
        for what, unfused, fused in pairs:
            if (difference := _find_difference(unfused, fused, _TOLERANCE[dtype])) > 0:
                trial = self._rows.trials[index]
                raise NotFusable(f"{trial}: {what} differs by {difference:.1e} between fused and unfused training")


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x


def _pair_values(unfused: Mapping[str, Tensor], fused: Mapping[str, Tensor]) -> list[tuple[str, Tensor, Tensor]]:
    """Return (name, unfused value, fused value) for each value."""
    if unfused.keys() != fused.keys():
        raise NotFusable(f"unfused steps log {sorted(unfused)}, fused ones {sorted(fused)}")
    return [(name, value.detach(), fused[name]) for name, value in unfused.items()]


def _evaluate_unfused(model: LightningModule, split: str, batch: Any) -> dict[str, Tensor]:
    """Return what an epoch of one batch logs, hooks included."""
    stage = EVALUATION_STEPS[split].removesuffix("_step")
    with CapturedLog(model, batch, is_training=False) as log:
        getattr(model, f"on_{stage}_epoch_start")()
        output = call_step(model, EVALUATION_STEPS[split], batch, 0)
        getattr(model, f"on_{stage}_batch_end")(output, batch, 0)
        getattr(model, f"on_{stage}_epoch_end")()
    return log.values


def _find_difference(unfused: Tensor, fused: Tensor, tolerance: float) -> float:
    """Return the largest difference, or 0 if it is rounding. Infinite and NaN elements must be so in both tensors."""
    if unfused.numel() == 0:
        return 0.0
    unfused, fused = unfused.double(), fused.detach().double()
    finite = unfused.isfinite()
    if not bool((finite == fused.isfinite()).all()):
        return float("inf")
    unfused, fused = unfused[finite], fused[finite]
    if unfused.numel() == 0:
        return 0.0
    scale = max(float(unfused.abs().max()), _MIN_SCALE)
    difference = float((unfused - fused).abs().max())
    return difference if difference > tolerance * scale else 0.0

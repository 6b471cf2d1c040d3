"""A group is proven before it is trusted: its first steps against those that each of its trials makes alone.

Both are made in double precision, whatever the study trains in, so that what is left of rounding is far below what a
hyperparameter does, and on copies: training starts as if there had been no proof. Each trial is compared, since a trial
may differ from the others of its cell in what a seed makes of it, with dropout on, since the masks are its own.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from experiments.fusing.fit.nested_tensors import mapped
from experiments.fusing.fit.rows import Rows
from experiments.fusing.fit.step import StackedModels
from experiments.fusing.fit.step_capture import CapturedLog, copied, default_dtype, loss_of
from experiments.fusing.fit.updates import Updates, clip, settings_of
from experiments.fusing.reasons import NotFusable
from experiments.training.seeding import seed_global_generators
from experiments.training.steps import call_step, first_size, measured
from experiments.training.streams import TrialStreams

STEPS = 2
"""Training steps that are compared; the second sees what the first left behind."""

EVALUATIONS = {"val": "validation_step", "test": "test_step"}
"""The step of each split that is not trained on."""

EXAMPLES = 32
"""Of the first batch of validation and test that are compared."""

TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-7}
"""The largest difference that is taken for rounding, relative to the largest element of each tensor. Single precision
is for modules that do not work in double; there, losses and metrics alone are compared."""

LEAST = 1e-3
"""An element below this is compared as if it were as large."""


@dataclass(frozen=True, slots=True)
class Clipping:
    """The Trainer's gradient_clip_val and gradient_clip_algorithm."""

    value: float | None
    algorithm: str


class Proof:
    """Compares T trials together with each alone.

    Arguments:
        stacked: the trials together.
        models: (T,), in the state from which training starts.
        rows: how the trials stand.
        clipping: of gradients.
    """

    def __init__(
        self, stacked: StackedModels, models: Sequence[LightningModule], rows: Rows, clipping: Clipping
    ) -> None:
        self._stacked, self._models, self._rows, self._clipping = stacked, models, rows, clipping

    def training(self, batches: Sequence[Any]) -> None:
        """Compare the first steps of the first epoch. batches: one a step, tensors (R, B, ...).

        Raises:
            NotFusable: with the trial and what differs.
        """
        self._in_double_or_own(partial(self._training, batches))

    def evaluation(self, split: str, batch: Any) -> None:
        """Compare a validation or test of one batch in the state that training has reached. batch: tensors (R, B, ...).

        Raises:
            NotFusable: with the trial and what differs.
        """
        size = first_size(self._of_row(batch, 0))
        few = mapped(lambda x: x[:, :EXAMPLES] if x.dim() > 1 and x.shape[1] == size else x, batch)
        self._in_double_or_own(partial(self._evaluation, split, few))

    def _in_double_or_own(self, compare: Callable[[torch.dtype], None]) -> None:
        own = next(iter(self._stacked.parameters.values())).dtype
        try:
            compare(torch.float64)
        except (RuntimeError, TypeError):  # a type is written in the module's code
            if own == torch.float64:
                raise
            compare(own)

    def _training(self, batches: Sequence[Any], dtype: torch.dtype) -> None:
        cast = [mapped(partial(_cast, dtype=dtype), batch) for batch in batches]
        seeds = [TrialStreams(trial.seed).dropout_seed(0) for trial in self._rows.trials]
        with self._stacked.on_copies(dtype):
            together = self._steps_together(cast, seeds)
            state = self._stacked.parameters | self._stacked.buffers
        for place, seed in enumerate(seeds):
            of_row = [self._of_row(batch, self._rows.row(place)) for batch in cast]
            model = self._copy(place, dtype)
            with default_dtype(dtype):
                alone = self._steps_alone(model, of_row, seed)
            pairs = _pairs(alone, {name: values[place] for name, values in together.items()})
            is_finite = all(bool(values.isfinite().all()) for _, values, _ in pairs)
            if dtype == torch.float64 and is_finite:
                named = [*model.named_parameters(), *model.named_buffers()]
                pairs += [(f"{name} after {STEPS} steps", own.detach(), state[name][place]) for name, own in named]
            self._compare(place, pairs, dtype)

    def _steps_together(self, batches: Sequence[Any], seeds: Sequence[int]) -> dict[str, Tensor]:
        stacked = self._stacked
        updates = Updates(self._models, [settings_of(model) for model in self._models], stacked.parameters)
        stacked.noise.restart(seeds, next(iter(stacked.parameters.values())).device)
        found: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            self._is_at(number)
            loss, logged = stacked.train_step(batch, number)
            torch.autograd.backward(loss.sum())
            if self._clipping.value:
                clip(stacked.parameters.values(), self._clipping.value, self._clipping.algorithm)
            updates.step()
            found |= {f"the loss of step {number}": loss.detach()}
            found |= {f"{name} of step {number}": entry.value for name, entry in logged.items()}
        self._is_at(0)
        return found

    def _steps_alone(self, model: LightningModule, batches: Sequence[Any], seed: int) -> dict[str, Tensor]:
        settings = settings_of(model)
        seed_global_generators(seed)
        found: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            self._is_at(number)
            settings.optimizer.zero_grad()
            loss, logged = step_alone(model, batch, number)
            parameters = [parameter for group in settings.optimizer.param_groups for parameter in group["params"]]
            if self._clipping.value and self._clipping.algorithm == "value":
                nn.utils.clip_grad_value_(parameters, self._clipping.value)
            elif self._clipping.value:
                nn.utils.clip_grad_norm_(parameters, self._clipping.value)
            settings.optimizer.step()
            if settings.scheduler is not None and settings.interval == "step":
                settings.scheduler.step()
            found |= {f"the loss of step {number}": loss}
            found |= {f"{name} of step {number}": value for name, value in logged.items()}
        self._is_at(0)
        return found

    def _evaluation(self, split: str, batch: Any, dtype: torch.dtype) -> None:
        batch = mapped(partial(_cast, dtype=dtype), batch)
        trained = self._stacked.parameters | self._stacked.buffers
        with self._stacked.on_copies(dtype):
            found = self._stacked.eval_step(EVALUATIONS[split], batch, 0, self._stacked.shape[0])
        together = {name: entry.value for name, entry in found.logged.items()}
        for place in range(len(self._models)):
            model = self._copy(place, dtype)
            with torch.no_grad(), default_dtype(dtype):
                for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                    tensor.copy_(trained[name][place])
                model.eval()
                alone = _evaluated_alone(model, split, self._of_row(batch, self._rows.row(place)))
                of_trial = {name: value[place] for name, value in found.outputs.items()}
                of_epoch = measured(copied(self._models[place]), split, of_trial) if of_trial else {}
            values = {name: value[place] for name, value in together.items()} | of_epoch
            self._compare(place, _pairs(alone, values), dtype)

    def _copy(self, place: int, dtype: torch.dtype) -> LightningModule:
        return copied(self._models[place]).to(dtype)

    def _is_at(self, step: int) -> None:
        self._models[0].trainer.global_step = step  # type: ignore[misc]

    @staticmethod
    def _of_row(batch: Any, row: int) -> Any:
        return mapped(partial(torch.select, dim=0, index=row), batch)

    def _compare(self, place: int, pairs: Sequence[tuple[str, Tensor, Tensor]], dtype: torch.dtype) -> None:
        for what, own, together in pairs:
            if (difference := _difference(own, together, TOLERANCE[dtype])) > 0:
                raise NotFusable(
                    f"{self._rows.trials[place]}: {what} differs by {difference:.1e} from what it is alone"
                )


def step_alone(model: LightningModule, batch: Any, number: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and what was logged of one training step, backward included."""
    with CapturedLog(model, batch, is_training=True) as log:
        loss = loss_of(call_step(model, "training_step", batch, number))
    torch.autograd.backward(loss)
    return loss.detach(), log.values


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x


def _pairs(alone: Mapping[str, Tensor], together: Mapping[str, Tensor]) -> list[tuple[str, Tensor, Tensor]]:
    if alone.keys() != together.keys():
        raise NotFusable(f"alone its steps log {sorted(alone)}, together {sorted(together)}")
    return [(name, own.detach(), together[name]) for name, own in alone.items()]


def _evaluated_alone(model: LightningModule, split: str, batch: Any) -> dict[str, Tensor]:
    """What an epoch of one batch logs, hooks included."""
    stage = EVALUATIONS[split].removesuffix("_step")
    with CapturedLog(model, batch, is_training=False) as log:
        getattr(model, f"on_{stage}_epoch_start")()
        output = call_step(model, EVALUATIONS[split], batch, 0)
        getattr(model, f"on_{stage}_batch_end")(output, batch, 0)
        getattr(model, f"on_{stage}_epoch_end")()
    return log.values


def _difference(own: Tensor, together: Tensor, tolerance: float) -> float:
    """The largest difference that is no rounding; 0 where there is none. What is not finite is so in both ways."""
    if own.numel() == 0:
        return 0.0
    own, together = own.double(), together.detach().double()
    finite = own.isfinite()
    if not bool((finite == together.isfinite()).all()):
        return float("inf")
    own, together = own[finite], together[finite]
    if own.numel() == 0:
        return 0.0
    largest = max(float(own.abs().max()), LEAST)
    difference = float((own - together).abs().max())
    return difference if difference > tolerance * largest else 0.0


def peeked(batches: Any, number: int) -> tuple[list[Any], Any]:
    """The first batches of an iterator, and an iterator that still has them."""
    iterator = iter(batches)
    first = list(itertools.islice(iterator, number))
    return first, itertools.chain(first, iterator)

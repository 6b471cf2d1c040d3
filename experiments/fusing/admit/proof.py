"""A group is proven before it is trusted: its first steps against those that each of its trials makes alone.

Both are made in double precision, whatever the study trains in, so that what is left of rounding is far below what a
hyperparameter does, and on copies: training starts as if there had been no proof. Each trial is compared, since a trial
may differ from the others of its cell in what a seed makes of it, with dropout on, since the masks are its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from experiments.fusing.fit.batches import NoSeedGenerators, RowBatches, SeedGenerators, read_first
from experiments.fusing.fit.fused_mechanisms import num_examples_of
from experiments.fusing.fit.memory import MemoryEstimate, budget_of
from experiments.fusing.fit.nested_tensors import mapped
from experiments.fusing.fit.setup import GroupSetup
from experiments.fusing.fit.step import EVALUATION_STEPS, StackedModels
from experiments.fusing.fit.step_capture import CapturedLog, run_unfused_step
from experiments.fusing.fit.updates import Updates, settings_of
from experiments.fusing.reasons import NotFusable
from experiments.training.epoch_metrics import compute_epoch_metrics
from experiments.training.module_clone import clone_module
from experiments.training.seeding import seed_global_generators
from experiments.training.step_harness import call_step, default_dtype, first_size
from experiments.training.streams import TrialStreams

from .shapes import check_shapes

STEPS = 2
"""Training steps that are compared; the second sees what the first left behind."""

EXAMPLES = 32
"""Of the first batch of validation and test that are compared."""

TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-7}
"""The largest difference that is taken for rounding, relative to the largest element of each tensor. Single precision
is for modules that do not work in double; there, losses and metrics alone are compared."""

LEAST = 1e-3
"""An element below this is compared as if it were as large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenGroup:
    """A group that may be trained fused.

    proof: to be continued with the first batches of validation and test.
    batches: of training; first_batches: those that were read; first_epoch: all of epoch 0, these included.
    generators: what reading epoch 0 draws from.
    """

    setup: GroupSetup
    stacked: StackedModels
    proof: "Proof"
    memory: MemoryEstimate
    batches: RowBatches
    first_batches: list[Any]
    first_epoch: Iterator[Any]
    generators: SeedGenerators | NoSeedGenerators


def prove(setup: GroupSetup) -> ProvenGroup:
    """Stack the models of a group and compare its first training steps with the unfused ones.

    Raises:
        OtherShapes: trials have parameters of different shapes; those of equal ones can be trained.
        MemoryError: the group would take more than its budget; a smaller one can be trained.
        NotFusable: batches or models cannot be stacked, or a step differs.
    """
    check_shapes(setup)
    batches = setup.data.read_in_rows(setup.loaders, setup.rows)
    generators = setup.data.start_generators(0)
    num_examples = 0 if setup.mechanisms is None else num_examples_of(setup.mechanisms)
    first_batches, first_epoch = read_first(batches.epoch(0, generators), STEPS, num_examples)
    model = clone_module(setup.models[0], setup.trainer_stub)
    memory = MemoryEstimate(model, mapped(itemgetter(0), first_batches[0]), budget_of(setup.data.device))
    num_trials = len(setup.models)
    if (needed := memory.bytes_of(num_trials)) > memory.budget and num_trials > 1:
        raise MemoryError(f"{num_trials} trials need {needed} of {memory.budget} bytes")
    stacked = StackedModels(setup.models, setup.rows.shape)
    proof = Proof(setup, stacked)
    proof.training(first_batches[:STEPS])
    return ProvenGroup(
        setup=setup,
        stacked=stacked,
        proof=proof,
        memory=memory,
        batches=batches,
        first_batches=first_batches,
        first_epoch=first_epoch,
        generators=generators,
    )


class Proof:
    """Comparison of T fused trials with each unfused model.

    Args:
        setup: the models are in the state from which training starts.
        stacked: the fused trials.
    """

    def __init__(self, setup: GroupSetup, stacked: StackedModels) -> None:
        self._stacked = stacked
        self._models, self._rows, self._clipping = setup.models, setup.rows, setup.clipping
        self._trainer_stub = setup.trainer_stub

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
        self._trainer_stub.reset_steps()

    def _steps_together(self, batches: Sequence[Any], seeds: Sequence[int]) -> dict[str, Tensor]:
        stacked = self._stacked
        self._trainer_stub.reset_steps()
        updates = Updates(self._models, [settings_of(model) for model in self._models], stacked.parameters)
        stacked.noise.restart(seeds, next(iter(stacked.parameters.values())).device)
        found: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            loss, logged = stacked.train_step(batch, number)
            torch.autograd.backward(loss.sum())
            self._clipping.clip_fused(stacked.parameters.values())
            updates.step()
            self._trainer_stub.advance_step()
            found |= {f"the loss of step {number}": loss.detach()}
            found |= {f"{name} of step {number}": entry.value for name, entry in logged.items()}
        return found

    def _steps_alone(self, model: LightningModule, batches: Sequence[Any], seed: int) -> dict[str, Tensor]:
        settings = settings_of(model)
        seed_global_generators(seed)
        self._trainer_stub.reset_steps()
        found: dict[str, Tensor] = {}
        for number, batch in enumerate(batches):
            settings.optimizer.zero_grad()
            loss, logged = run_unfused_step(model, batch, number)
            parameters = [parameter for group in settings.optimizer.param_groups for parameter in group["params"]]
            self._clipping.clip_unfused(parameters)
            settings.optimizer.step()
            if settings.scheduler is not None and settings.interval == "step":
                settings.scheduler.step()
            self._trainer_stub.advance_step()
            found |= {f"the loss of step {number}": loss}
            found |= {f"{name} of step {number}": value for name, value in logged.items()}
        return found

    def _evaluation(self, split: str, batch: Any, dtype: torch.dtype) -> None:
        batch = mapped(partial(_cast, dtype=dtype), batch)
        trained = self._stacked.parameters | self._stacked.buffers
        with self._stacked.on_copies(dtype):
            found = self._stacked.eval_step(EVALUATION_STEPS[split], batch, 0, self._stacked.shape[0])
        together = {name: entry.value for name, entry in found.logged.items()}
        for place in range(len(self._models)):
            model = self._copy(place, dtype)
            with torch.no_grad(), default_dtype(dtype):
                for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                    tensor.copy_(trained[name][place])
                model.eval()
                alone = _evaluated_alone(model, split, self._of_row(batch, self._rows.row(place)))
                of_trial = {name: value[place] for name, value in found.outputs.items()}
                of_epoch = (
                    compute_epoch_metrics(clone_module(self._models[place], self._trainer_stub), split, of_trial)
                    if of_trial
                    else {}
                )
            values = {name: value[place] for name, value in together.items()} | of_epoch
            self._compare(place, _pairs(alone, values), dtype)

    def _copy(self, place: int, dtype: torch.dtype) -> LightningModule:
        return clone_module(self._models[place], self._trainer_stub).to(dtype)

    @staticmethod
    def _of_row(batch: Any, row: int) -> Any:
        return mapped(partial(torch.select, dim=0, index=row), batch)

    def _compare(self, place: int, pairs: Sequence[tuple[str, Tensor, Tensor]], dtype: torch.dtype) -> None:
        for what, own, together in pairs:
            if (difference := _difference(own, together, TOLERANCE[dtype])) > 0:
                raise NotFusable(
                    f"{self._rows.trials[place]}: {what} differs by {difference:.1e} from what it is alone"
                )


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x


def _pairs(alone: Mapping[str, Tensor], together: Mapping[str, Tensor]) -> list[tuple[str, Tensor, Tensor]]:
    if alone.keys() != together.keys():
        raise NotFusable(f"alone its steps log {sorted(alone)}, together {sorted(together)}")
    return [(name, own.detach(), together[name]) for name, own in alone.items()]


def _evaluated_alone(model: LightningModule, split: str, batch: Any) -> dict[str, Tensor]:
    """What an epoch of one batch logs, hooks included."""
    stage = EVALUATION_STEPS[split].removesuffix("_step")
    with CapturedLog(model, batch, is_training=False) as log:
        getattr(model, f"on_{stage}_epoch_start")()
        output = call_step(model, EVALUATION_STEPS[split], batch, 0)
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

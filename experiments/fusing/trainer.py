"""Training loop of a fused group: `train_trial` with a trial axis.

T trials in rows. Every trial keeps its own initial values, data order, dropout masks, optimizer, metrics and end.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.training.epoch_metrics import Metrics, compute_epoch_metrics
from experiments.training.step_harness import default_dtype, first_size
from experiments.training.streams import TrialStreams
from experiments.training.trainer_stub import NeedsTrainer
from experiments.trials.trial import EpochEnded, Result, Trial

from .admit.proven_group import ProvenGroup, prove
from .admit.shapes import check_batch_sizes
from .fit.allowed_callbacks import EarlyStop
from .fit.correct_examples import GroupCorrectCollector
from .fit.epoch_outputs import EpochOutputs
from .fit.fused_mechanisms import FusedMechanisms
from .fit.fused_optimizers import FusedOptimizers
from .fit.logged_metrics import LoggedMetrics
from .fit.setup import set_up_group
from .fit.step import EVALUATION_STEPS
from .fit.trial_progress import TrialProgress
from .reading.batches import NoSeedGenerators, SeedGenerators, read_first
from .reading.group_data import set_up_data
from .reading.nested_tensors import select_row
from .reasons import NotFusable

Generators = SeedGenerators | NoSeedGenerators


def train_in_one_loop(trials: Sequence[Trial], emit: Callable[[EpochEnded], None]) -> dict[str, Result]:
    """Train trials of equal structure in one loop, and return their results by id.

    Raises:
        NotFusable: fused and unfused steps differ, something cannot be stacked, or a step draws random numbers. There
            are no results then; the trials can be trained unfused.
        OtherShapes: trials have parameters or batches of different shapes; those of equal ones can be trained.
        MemoryError: the group would take more than its share; a smaller one can be trained.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)
    try:
        trainer = FusedTrainer(prove_group(trials))
        trainer.fit(emit)
    except NeedsTrainer as finding:
        raise NotFusable(str(finding)) from finding
    return trainer.make_results(time.perf_counter() - started)


def prove_group(trials: Sequence[Trial]) -> ProvenGroup:
    """Set up a group and prove its first steps; raises the errors of `train_in_one_loop`."""
    data = set_up_data(trials)
    check_batch_sizes(trials, data)
    return prove(set_up_group(trials, data))


class FusedTrainer:
    """Trainer of a proven group.

    progress: (T,), of each trial.

    Args:
        group: its first epoch is not trained yet.
    """

    def __init__(self, group: ProvenGroup) -> None:
        setup, stopping = group.setup, group.setup.early_stopping
        self.progress = [
            TrialProgress(trial=trial, early_stop=None if stopping is None else EarlyStop(stopping))
            for trial in setup.rows.trials
        ]
        self._group, self._setup, self._stacked = group, setup, group.stacked
        self._device = setup.data.device
        self._batches = {"train": group.batches}
        self._mechanisms = None
        if setup.mechanisms is not None:
            self._mechanisms = FusedMechanisms(
                setup.mechanisms, group.stacked, setup.models, group.first_batches, self._count_rows_at_once
            )
        self._optimizers = FusedOptimizers(setup.models, setup.settings, group.stacked.parameters)

    def fit(self, emit: Callable[[EpochEnded], None]) -> None:
        """Train every trial to its end, and test it there."""
        generators, batches = self._group.generators, self._group.first_epoch
        for epoch in range(self._setup.max_epochs):
            self._setup.trainer_stub.start_epoch(epoch)
            if epoch > 0:
                generators = self._setup.data.start_generators(epoch)
                batches = self._batches["train"].read_epoch(epoch, generators)
            losses, logged = self.train_epoch(epoch, batches)
            num_validated = self._validate(logged, generators)
            self._optimizers.end_epoch()
            mechanisms = self._measure_mechanisms(logged, num_validated)
            ended = self._end_epoch(epoch, torch.isfinite(losses).tolist(), logged, mechanisms, emit)
            self._test(epoch, ended)
            if all(progress.has_ended for progress in self.progress):
                return

    def train_epoch(self, epoch: int, batches: Iterable[Any]) -> tuple[Tensor, LoggedMetrics]:
        """Train one epoch. Return each trial's sum of losses (T,), and the logged values.

        A sum is not finite as soon as one of the losses is not.
        """
        setup, stacked = self._setup, self._stacked
        seeds = [TrialStreams(trial.seed).dropout_seed(epoch) for trial in setup.rows.trials]
        stacked.noise.restart(seeds, self._device)
        num_batches = len(self._batches["train"])
        logged = LoggedMetrics(len(self.progress), setup.log_every_n_steps, first_step=epoch * num_batches)
        losses = torch.zeros(len(self.progress), device=self._device)
        for batch_idx, batch in enumerate(batches):
            loss, values = stacked.train_step(batch, batch_idx)
            torch.autograd.backward(loss.sum())
            setup.clipping.clip_fused(stacked.parameters.values())
            if self._mechanisms is not None and batch_idx == num_batches - 1:
                self._mechanisms.before_last_step()
                self._optimizers.step()
                self._mechanisms.after_last_step()
            else:
                self._optimizers.step()
            setup.trainer_stub.advance_step()
            losses += loss.detach().float()
            logged.add(values)
        return losses, logged

    def make_results(self, seconds: float) -> dict[str, Result]:
        """Return the result of every trial by id. seconds: that the whole group took."""
        return {
            progress.trial.trial_id: progress.make_result(
                seconds=seconds / len(self.progress),
                device=str(self._device),
                num_parameters=sum(parameter.numel() for parameter in model.parameters()),
            )
            for progress, model in zip(self.progress, self._setup.models, strict=True)
        }

    def _validate(self, logged: LoggedMetrics, generators: Generators) -> int:
        """Validate the trials in training, if there is a validation. Return the number of examples."""
        if not self._setup.has_split("val"):
            return 0
        indices = [index for index, progress in enumerate(self.progress) if not progress.has_ended]
        return self._evaluate("val", logged, generators, GroupCorrectCollector(self._setup.rows, []), indices)

    def _test(self, epoch: int, indices: Sequence[int]) -> None:
        """Test the trials that ended with an epoch, unless all of them diverged."""
        have_diverged = all(self.progress[index].diverged_epoch is not None for index in indices)
        if have_diverged or not self._setup.has_split("test"):
            return
        logged, correct = LoggedMetrics(len(self.progress)), GroupCorrectCollector(self._setup.rows, indices)
        self._setup.trainer_stub.start_epoch(epoch + 1)
        self._evaluate("test", logged, self._setup.data.start_generators("test"), correct, indices)
        metrics, bits = logged.split_by_trial(), correct.finish()
        for index in indices:
            self.progress[index].end_test(metrics[index].for_loggers, bits[index])

    def _evaluate(
        self,
        split: str,
        logged: LoggedMetrics,
        generators: Generators,
        correct: GroupCorrectCollector,
        indices: Sequence[int],
    ) -> int:
        """Run one validation or test.

        Args:
            split: "val" or "test".
            logged: gets the logged values.
            generators: of reading the batches.
            correct: gets which examples are right.
            indices: of the trials whose metrics of the epoch are computed.

        Returns:
            The number of examples.
        """
        batches = self._read(split, generators)
        outputs = EpochOutputs(len(self._batches[split]), self._group.memory.budget)
        num_examples = 0
        for batch_idx, batch in enumerate(batches):
            size = first_size(select_row(batch, 0))
            num_examples += size
            results = self._stacked.eval_step(EVALUATION_STEPS[split], batch, batch_idx, self._count_rows_at_once(size))
            logged.add(results.logged)
            outputs.add(results.outputs)
            correct.add(results.correct, batch)
        for index in indices:
            with default_dtype(self._setup.dtype):
                metrics = compute_epoch_metrics(self._setup.models[index], split, outputs.select_trial(index))
                logged.add_epoch_metrics(index, metrics)
        return num_examples

    def _read(self, split: str, generators: Generators) -> Iterable[Any]:
        """Read the batches of an evaluation. At the first time, its first batch is proven."""
        if split in self._batches:
            return self._batches[split].read_epoch(0, generators)
        data = self._setup.data
        self._batches[split] = data.read_in_rows(data.make_loaders(split), self._setup.rows)
        first, batches = read_first(self._batches[split].read_epoch(0, generators), 1)
        for batch in first:
            self._group.proof.check_evaluation(split, batch)
        return batches

    def _measure_mechanisms(self, logged: LoggedMetrics, num_validated: int) -> Sequence[Metrics]:
        """Measure the inside of each trial's network. logged: in the epoch that ends, validation included."""
        if self._mechanisms is None:
            return [{} for _ in self.progress]
        has_validation = self._setup.has_split("val")
        validation = [metrics.for_loggers for metrics in logged.split_by_trial()] if has_validation else None
        return self._mechanisms.compute_metrics(validation, num_validated, self._setup.dtype)

    def _count_rows_at_once(self, num_examples: int) -> int:
        return self._group.memory.count_rows_at_once(self._setup.rows.num_columns, num_examples)

    def _end_epoch(
        self,
        epoch: int,
        is_finite: Sequence[bool],
        logged: LoggedMetrics,
        mechanisms: Sequence[Metrics],
        emit: Callable[[EpochEnded], None],
    ) -> list[int]:
        """Record an epoch of the trials in training. Return the indices of those for which it was the last.

        A trial that has ended stays in the stack, where it changes nothing for the others.
        """
        ended: list[int] = []
        is_last = epoch + 1 == self._setup.max_epochs
        for index, (progress, metrics) in enumerate(zip(self.progress, logged.split_by_trial(), strict=True)):
            if progress.has_ended:
                continue
            for_loggers = metrics.for_loggers | mechanisms[index]
            event = progress.end_epoch(for_loggers, metrics.for_callbacks, is_finite=is_finite[index], is_last=is_last)
            emit(event)
            if progress.has_ended:
                ended.append(index)
        return ended

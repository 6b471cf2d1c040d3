"""Training loop of a fused group: what `train_trial` does for one trial, with a trial axis.

T trials in rows. Every trial keeps its own initial values, data order, dropout masks, optimizer, metrics and end.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from experiments.training.epoch_metrics import Metrics, compute_epoch_metrics
from experiments.training.step_harness import default_dtype, first_size
from experiments.training.streams import TrialStreams
from experiments.training.trainer_stub import NeedsTrainer
from experiments.trials.trial import EpochEnded, Result, Trial

from .admit.proof import ProvenGroup, prove
from .admit.shapes import check_batch_sizes
from .fit.batches import NoSeedGenerators, SeedGenerators, read_first
from .fit.correct_examples import CollectedTogether
from .fit.epoch_outputs import Outputs
from .fit.fused_mechanisms import Probing
from .fit.group_data import set_up_data
from .fit.means import Means
from .fit.nested_tensors import mapped
from .fit.setup import set_up_group
from .fit.step import EVALUATION_STEPS
from .fit.stopping import Patience
from .fit.trial_progress import TrialProgress
from .fit.updates import Updates
from .reasons import NotFusable

Generators = SeedGenerators | NoSeedGenerators


def train_in_one_loop(trials: Sequence[Trial], emit: Callable[[EpochEnded], None]) -> dict[str, Result]:
    """Train trials of one `structure` in one loop, and return their results by id.

    Raises:
        NotFusable: the group's first steps differ from those of its trials, something cannot be stacked, or a later
            step draws random numbers. There are no results then, and the trials can be trained unfused.
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
    return trainer.results(time.perf_counter() - started)


def prove_group(trials: Sequence[Trial]) -> ProvenGroup:
    """Set up a group and compare its first steps; raises as `train_in_one_loop`."""
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
        setup = group.setup
        self.progress = [
            TrialProgress(trial=trial, patience=None if setup.stopping is None else Patience(setup.stopping))
            for trial in setup.rows.trials
        ]
        self._group, self._setup, self._stacked = group, setup, group.stacked
        self._device = setup.data.device
        self._batches = {"train": group.batches}
        self._probing = None
        if setup.mechanisms is not None:
            self._probing = Probing(
                setup.mechanisms, group.stacked, setup.models, group.first_batches, self._rows_at_once
            )
        self._updates = Updates(setup.models, setup.settings, group.stacked.parameters)

    def fit(self, emit: Callable[[EpochEnded], None]) -> None:
        """Train every trial to its end, and test it there."""
        generators, batches = self._group.generators, self._group.first_epoch
        for epoch in range(self._setup.max_epochs):
            self._setup.trainer_stub.start_epoch(epoch)
            if epoch > 0:
                generators = self._setup.data.start_generators(epoch)
                batches = self._batches["train"].epoch(epoch, generators)
            losses, means = self.train_epoch(epoch, batches)
            num_validated = self._validate(means, generators)
            self._updates.end_epoch()
            mechanisms = self._measure_mechanisms(means, num_validated)
            ended = self._end_epoch(epoch, torch.isfinite(losses).tolist(), means, mechanisms, emit)
            self._test(epoch, ended)
            if all(trial.has_ended for trial in self.progress):
                return

    def train_epoch(self, epoch: int, batches: Iterable[Any]) -> tuple[Tensor, Means]:
        """Train one epoch. Return each trial's sum of losses (T,), and the means of what steps logged.

        A sum is not finite as soon as one of the losses is not.
        """
        setup, stacked = self._setup, self._stacked
        seeds = [TrialStreams(trial.seed).dropout_seed(epoch) for trial in setup.rows.trials]
        stacked.noise.restart(seeds, self._device)
        num_batches = len(self._batches["train"])
        means = Means(len(self.progress), setup.log_every_n_steps, first_step=epoch * num_batches)
        losses = torch.zeros(len(self.progress), device=self._device)
        for batch_idx, batch in enumerate(batches):
            loss, logged = stacked.train_step(batch, batch_idx)
            torch.autograd.backward(loss.sum())
            setup.clipping.clip_fused(stacked.parameters.values())
            if self._probing is not None and batch_idx == num_batches - 1:
                self._probing.before_last_step()
                self._updates.step()
                self._probing.after_last_step()
            else:
                self._updates.step()
            setup.trainer_stub.advance_step()
            losses += loss.detach().float()
            means.add(logged)
        return losses, means

    def results(self, seconds: float) -> dict[str, Result]:
        """Return the result of every trial by id. seconds: of the whole group."""
        return {
            progress.trial.trial_id: progress.result(
                seconds=seconds / len(self.progress),
                device=str(self._device),
                num_parameters=sum(parameter.numel() for parameter in model.parameters()),
            )
            for progress, model in zip(self.progress, self._setup.models, strict=True)
        }

    def _validate(self, means: Means, generators: Generators) -> int:
        """Validate the trials in training, if there is a validation. Return the number of examples."""
        if not self._setup.has_split("val"):
            return 0
        indices = [index for index, trial in enumerate(self.progress) if not trial.has_ended]
        return self._evaluate("val", means, generators, CollectedTogether(self._setup.rows, []), indices)

    def _test(self, epoch: int, indices: Sequence[int]) -> None:
        """Test the trials that ended with an epoch, unless all of them diverged."""
        if not self._setup.has_split("test") or all(
            self.progress[index].diverged_epoch is not None for index in indices
        ):
            return
        means, correct = Means(len(self.progress)), CollectedTogether(self._setup.rows, indices)
        self._setup.trainer_stub.start_epoch(epoch + 1)
        self._evaluate("test", means, self._setup.data.start_generators("test"), correct, indices)
        metrics, bits = means.of_trials(), correct.correct()
        for index in indices:
            self.progress[index].end_test(metrics[index].recorded, bits[index])

    def _evaluate(
        self, split: str, means: Means, generators: Generators, correct: CollectedTogether, indices: Sequence[int]
    ) -> int:
        """Run one validation or test.

        Args:
            split: "val" or "test".
            means: get what its steps log.
            generators: of reading its batches.
            correct: gets which examples are right.
            indices: of the trials whose metrics of the epoch are computed.

        Returns:
            The number of examples.
        """
        batches = self._read(split, generators)
        outputs = Outputs(len(self._batches[split]), self._group.memory.budget)
        num_examples = 0
        for batch_idx, batch in enumerate(batches):
            size = first_size(mapped(itemgetter(0), batch))
            num_examples += size
            found = self._stacked.eval_step(EVALUATION_STEPS[split], batch, batch_idx, self._rows_at_once(size))
            means.add(found.logged)
            outputs.add(found.outputs)
            correct.add(found.correct, batch)
        for index in indices:
            with default_dtype(self._setup.dtype):
                metrics = compute_epoch_metrics(self._setup.models[index], split, outputs.of_trial(index))
                means.add_epoch(index, metrics)
        return num_examples

    def _read(self, split: str, generators: Generators) -> Iterable[Any]:
        """Read the batches of an evaluation; the first time, its first batch is proven."""
        if split in self._batches:
            return self._batches[split].epoch(0, generators)
        data = self._setup.data
        self._batches[split] = data.read_in_rows(data.make_loaders(split), self._setup.rows)
        first, batches = read_first(self._batches[split].epoch(0, generators), 1)
        for batch in first:
            self._group.proof.evaluation(split, batch)
        return batches

    def _measure_mechanisms(self, means: Means, num_validated: int) -> Sequence[Metrics]:
        """Measure the inside of each trial's network. means: of the epoch that ends, validation included."""
        if self._probing is None:
            return [{} for _ in self.progress]
        validation = [seen.recorded for seen in means.of_trials()] if self._setup.has_split("val") else None
        return self._probing.metrics(validation, num_validated, self._setup.dtype)

    def _rows_at_once(self, num_examples: int) -> int:
        return self._group.memory.rows_at_once(self._setup.rows.num_columns, num_examples)

    def _end_epoch(
        self,
        epoch: int,
        is_finite: Sequence[bool],
        means: Means,
        mechanisms: Sequence[Metrics],
        emit: Callable[[EpochEnded], None],
    ) -> list[int]:
        """Record an epoch of the trials in training. Return the indices of those for which it was the last.

        A trial that has ended stays in the stack, where it changes nothing for the others.
        """
        ended: list[int] = []
        is_last = epoch + 1 == self._setup.max_epochs
        for index, (progress, seen) in enumerate(zip(self.progress, means.of_trials(), strict=True)):
            if progress.has_ended:
                continue
            metrics = seen.recorded | mechanisms[index]
            emit(progress.end_epoch(metrics, seen.last, is_finite=is_finite[index], is_last=is_last))
            if progress.has_ended:
                ended.append(index)
        return ended

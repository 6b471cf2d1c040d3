"""One training loop for many trials: what `train_trial` does for one, with a trial axis.

T trials in rows of one seed. Every trial keeps its own initial values, data order, dropout masks, optimizer, metrics
and end.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from experiments.config.instantiate import make_data, make_model
from experiments.mechanisms.probe_metrics import Metrics
from experiments.training.steps import first_size, measured
from experiments.training.streams import TrialStreams
from experiments.trials.trial import Correct, EpochEnded, Result, Trial, TrialStatus, is_bad_loss

from .admit.memory import Need, budget_of
from .admit.proof import EVALUATIONS, STEPS, Clipping, Proof, peeked
from .fit.batches import NoTurns, RowBatches, Turns, batch_sizes, length_of
from .fit.correct_examples import CollectedTogether
from .fit.epoch_outputs import Outputs
from .fit.fused_mechanisms import Probing, num_examples_of, with_examples
from .fit.means import Means
from .fit.nested_tensors import mapped
from .fit.pretraining import BatchesBefore, has_pretraining
from .fit.rows import in_rows
from .fit.step import StackedModels
from .fit.step_capture import copied, default_dtype
from .fit.stopping import Patience, mechanisms_of, patience_of
from .fit.trainer_stub import TrainerStandIn
from .fit.updates import Updates, clip, settings_of
from .reasons import NotFusable, OtherShapes

BACKEND = "fused"
LOG_EVERY_N_STEPS = 50
"""The Trainer's default."""
DOUBLE = {"64-true", "64", 64}


def train_group(trials: Sequence[Trial], emit: Callable[[EpochEnded], None]) -> dict[str, Result]:
    """Train trials of one `structure` together, and return their results by id.

    Raises:
        NotFusable: when the group's first steps are not those of its trials, when something cannot be stacked, or when
            a later step draws random numbers; there are no results then, and the trials can be trained alone.
        OtherShapes: when its trials have parameters or batches of different shapes; those of equal ones can be trained.
        MemoryError: when the group would take more than its share; a smaller one can be trained.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)
    group = Together(trials)
    group.fit(emit)
    seconds = (time.perf_counter() - started) / len(trials)
    return {trial.trial_id: group.result(place, seconds) for place, trial in enumerate(group.trials)}


class Together:
    """T trials in training, proven to step as each would alone."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trainer: Mapping[str, Any] = trials[0].config["trainer"]
        self.fabric = Fabric(accelerator=self.trainer.get("accelerator") or "auto", devices=1)
        self.dtype = torch.float64 if self.trainer.get("precision") in DOUBLE else None
        self.clipping = Clipping(
            self.trainer.get("gradient_clip_val"), str(self.trainer.get("gradient_clip_algorithm") or "norm")
        )
        self.seeds = sorted({trial.seed for trial in trials})
        self.data = [_data_of(trials[0].config, seed) for seed in self.seeds]
        loaders = self._loaders("train")
        self._check_batches(trials)
        self.stand_in = TrainerStandIn(self.trainer["max_epochs"], length_of(loaders[0]))
        of_trials = self._models_of(trials)
        _check_shapes(of_trials)
        settings = {trial_id: settings_of(model) for trial_id, model in of_trials.items()}
        kinds = {id(trial.config): repr(settings[trial.trial_id].optimizer) for trial in reversed(trials)}
        self.rows = in_rows(trials, lambda trial: kinds[id(trial.config)])
        self.trials = self.rows.trials
        self.models = [of_trials[trial.trial_id] for trial in self.trials]
        self.num_parameters = [sum(parameter.numel() for parameter in model.parameters()) for model in self.models]
        self.batches = {"train": self._in_rows(loaders)}
        self.turns = self._turns(0)
        options = mechanisms_of(self.trainer.get("callbacks"))
        first, self.first_epoch = with_examples(
            self.batches["train"].epoch(0, self.turns), STEPS, 0 if options is None else num_examples_of(options)
        )
        self.budget = budget_of(self.fabric.device)
        self.need = Need(copied(self.models[0]), mapped(itemgetter(0), first[0]))
        if (needed := self.need.bytes_of(len(trials))) > self.budget and len(trials) > 1:
            raise MemoryError(f"{len(trials)} trials need {needed} of {self.budget} bytes")
        self.stacked = StackedModels(self.models, self.rows.shape)
        self.proof = Proof(self.stacked, self.models, self.rows, self.clipping)
        self.proof.training(first[:STEPS])
        self.probing = None
        if options is not None:
            self.probing = Probing(options, self.stacked, self.models, first, self._rows_at_once)
        own = [settings[trial.trial_id] for trial in self.trials]
        self.updates = Updates(self.models, own, self.stacked.parameters)
        patience = patience_of(self.trainer.get("callbacks"))
        self.patience = None if patience is None else [Patience(patience) for _ in self.trials]
        self.epochs: list[list[Metrics]] = [[] for _ in self.trials]
        self.last: list[Metrics] = [{} for _ in self.trials]
        self.tests: list[Metrics] = [{} for _ in self.trials]
        self.correct: dict[int, Correct | None] = {}  # by place
        self.diverged: list[int | None] = [None for _ in self.trials]
        self.has_ended = [False for _ in self.trials]

    def fit(self, emit: Callable[[EpochEnded], None]) -> None:
        """Train every trial to its end, and test it there."""
        for epoch in range(self.trainer["max_epochs"]):
            self.stand_in.current_epoch = epoch
            batches = self.first_epoch
            if epoch > 0:
                self.turns = self._turns(epoch)
                batches = self.batches["train"].epoch(epoch, self.turns)
            losses, means = self._train_epoch(epoch, batches)
            num_validated = 0
            if self._has("val"):
                going = [place for place, has_ended in enumerate(self.has_ended) if not has_ended]
                num_validated = self._evaluate("val", means, self.turns, going)
            self.updates.end_epoch()
            mechanisms = self._mechanisms(means, num_validated)
            ended = self._end_epoch(epoch, torch.isfinite(losses).tolist(), means, mechanisms, emit)
            if self._has("test") and any(self.diverged[place] is None for place in ended):
                tests = Means(len(self.trials))
                self.stand_in.current_epoch = epoch + 1
                self._evaluate("test", tests, self._turns("test"), ended)
                found = tests.of_trials()
                for place in ended:
                    self.tests[place] = found[place].recorded
            if all(self.has_ended):
                return

    def result(self, place: int, seconds: float) -> Result:
        """What the trial at a place came to."""
        final = dict(self.last[place])
        for metrics in [*self.epochs[place], self.tests[place]]:
            final.update(metrics)
        diverged = self.diverged[place]
        if diverged is None and any(is_bad_loss(name, value) for name, value in final.items()):
            diverged = len(self.epochs[place]) - 1
        return Result(
            status=TrialStatus.FINISHED if diverged is None else TrialStatus.DIVERGED,
            metrics=final if diverged is None else {},
            epochs=tuple(self.epochs[place]),
            seconds=seconds,
            backend=BACKEND,
            device=str(self.fabric.device),
            num_parameters=self.num_parameters[place],
            diverged_epoch=diverged,
            correct=self.correct.get(place) if diverged is None else None,
        )

    def _train_epoch(self, epoch: int, batches: Iterable[Any]) -> tuple[Tensor, Means]:
        """The sum of each trial's losses (T,), not finite as soon as one of them is not, and what was logged."""
        seeds = [TrialStreams(trial.seed).dropout_seed(epoch) for trial in self.trials]
        self.stacked.noise.restart(seeds, self.fabric.device)
        every = self.trainer.get("log_every_n_steps")
        first_step = epoch * len(self.batches["train"])
        means = Means(len(self.trials), LOG_EVERY_N_STEPS if every is None else every, first_step)
        losses = torch.zeros(len(self.trials), device=self.fabric.device)
        last = len(self.batches["train"]) - 1
        for batch_idx, batch in enumerate(batches):
            loss, logged = self.stacked.train_step(batch, batch_idx)
            torch.autograd.backward(loss.sum())
            if self.clipping.value:
                clip(self.stacked.parameters.values(), self.clipping.value, self.clipping.algorithm)
            if self.probing is not None and batch_idx == last:
                self.probing.before_last_step()
                self.updates.step()
                self.probing.after_last_step()
            else:
                self.updates.step()
            self.stand_in.global_step += 1
            losses += loss.detach().float()
            means.add(logged)
        return losses, means

    def _evaluate(self, split: str, means: Means, turns: Turns | NoTurns, places: Sequence[int]) -> int:
        """One validation or test, of how many examples; the metrics of an epoch only for the trials at these places."""
        is_first = split not in self.batches
        if is_first:
            self.batches[split] = self._in_rows(self._loaders(split))
        batches: Iterable[Any] = self.batches[split].epoch(0, turns)
        if is_first:
            first, batches = peeked(batches, 1)
            for batch in first:
                self.proof.evaluation(split, batch)
        outputs = Outputs(len(self.batches[split]), self.budget)
        tested = CollectedTogether(self.rows, places if split == "test" else [])
        num_examples = 0
        for batch_idx, batch in enumerate(batches):
            size = first_size(mapped(itemgetter(0), batch))
            num_examples += size
            rows_at_once = self._rows_at_once(size)
            found = self.stacked.eval_step(EVALUATIONS[split], batch, batch_idx, rows_at_once)
            means.add(found.logged)
            outputs.add(found.outputs)
            tested.add(found.correct, batch)
        self.correct |= tested.correct()
        for place in places:
            with default_dtype(self.dtype or torch.get_default_dtype()):
                means.add_epoch(place, measured(self.models[place], split, outputs.of_trial(place)))
        return num_examples

    def _mechanisms(self, means: Means, num_validated: int) -> Sequence[Metrics]:
        """What the study asks for of the inside of each trial; means: of the epoch that ends, validation included."""
        if self.probing is None:
            return [{} for _ in self.trials]
        validation = [seen.recorded for seen in means.of_trials()] if self._has("val") else None
        return self.probing.metrics(validation, num_validated, self.dtype or torch.get_default_dtype())

    def _rows_at_once(self, num_examples: int) -> int:
        return self.need.rows_at_once(self.rows.num_columns, num_examples, self.budget)

    def _end_epoch(
        self,
        epoch: int,
        is_finite: Sequence[bool],
        means: Means,
        mechanisms: Sequence[Metrics],
        emit: Callable[[EpochEnded], None],
    ) -> list[int]:
        """Note the epoch of each trial that is still in training; the places of those for which it was the last.

        A trial that has ended goes on in the stack, where it changes nothing for the others, and nobody looks at it.
        """
        ended = []
        for place, seen in enumerate(means.of_trials()):
            if self.has_ended[place]:
                continue
            metrics = seen.recorded | mechanisms[place]
            self.last[place] |= seen.last
            self.epochs[place].append(metrics)
            if not is_finite[place] or any(is_bad_loss(name, value) for name, value in metrics.items()):
                self.diverged[place] = epoch
            emit(EpochEnded(trial_id=self.trials[place].trial_id, epoch=epoch, metrics=metrics))
            stops = self.patience is not None and self.patience[place].stops(metrics | seen.last)
            if stops or self.diverged[place] is not None or epoch + 1 == self.trainer["max_epochs"]:
                self.has_ended[place] = True
                ended.append(place)
        return ended

    def _models_of(self, trials: Sequence[Trial]) -> dict[str, LightningModule]:
        """By trial id, from where training starts; a seed's trials after one another, since what they read is kept."""
        found: dict[str, LightningModule] = {}
        for seed, data in zip(self.seeds, self.data, strict=True):
            before = BatchesBefore(data, TrialStreams(seed), self.fabric.device)
            found |= {trial.trial_id: self._model_of(trial, data, before) for trial in trials if trial.seed == seed}
        return found

    def _model_of(self, trial: Trial, data: LightningDataModule, before: BatchesBefore) -> LightningModule:
        streams = TrialStreams(trial.seed)
        model = streams.model(partial(make_model, trial.config, data))
        model.trainer = self.stand_in  # type: ignore[assignment]
        streams.late()
        with default_dtype(self.dtype or torch.get_default_dtype()):
            model.configure_model()
        model = model.to(device=self.fabric.device, dtype=self.dtype)
        if has_pretraining(model):
            model.pretrain(before)  # type: ignore[operator]
        return model

    def _turns(self, epoch: int | str) -> Turns | NoTurns:
        """The data's generators, each seed's in its own state, at the start of an epoch or of the test."""
        if not getattr(self.data[0], "uses_global_generators", True):
            return NoTurns()
        return Turns(lambda place: TrialStreams(self.seeds[place]).order(epoch), len(self.seeds))

    def _loaders(self, split: str) -> list[Any]:
        """One a seed."""
        loaders = []
        for data, seed in zip(self.data, self.seeds, strict=True):
            TrialStreams(seed).late()
            loaders.append(getattr(data, f"{split}_dataloader")())
        if any(isinstance(loader, list | tuple | dict) for loader in loaders):
            raise NotFusable(f"{split}_dataloader returns a {type(loaders[0]).__name__} of loaders")
        return loaders

    def _check_batches(self, trials: Sequence[Trial]) -> None:
        """Raise OtherShapes where batches differ in size between seeds, as far as that is known beforehand."""
        if getattr(self.data[0], "uses_global_generators", True):
            return
        splits = [split for split in ("train", "val", "test") if split == "train" or self._has_loader(split)]
        sizes = [[batch_sizes(loader) for loader in self._loaders(split)] for split in splits]
        of_seeds = {seed: str(of_seed) for seed, *of_seed in zip(self.seeds, *sizes, strict=True)}
        if len(set(of_seeds.values())) > 1:
            raise OtherShapes("batches differ in size", {trial.trial_id: of_seeds[trial.seed] for trial in trials})

    def _in_rows(self, loaders: Sequence[Any]) -> RowBatches:
        places = [self.seeds.index(seed) for seed in self.rows.seeds]
        return RowBatches(loaders, places, self.fabric.device, self.dtype)

    def _has(self, split: str) -> bool:
        step = EVALUATIONS[split]
        return self._has_loader(split) and getattr(type(self.models[0]), step) is not getattr(LightningModule, step)

    def _has_loader(self, split: str) -> bool:
        loader = f"{split}_dataloader"
        return getattr(type(self.data[0]), loader) is not getattr(LightningDataModule, loader)


def _check_shapes(of_trials: Mapping[str, LightningModule]) -> None:
    """Raise OtherShapes where a parameter or buffer is of several shapes among the trials that have it."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for trial_id, model in of_trials.items():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            shapes.setdefault(name, {})[trial_id] = tuple(tensor.shape)
    varying = [of_name for of_name in shapes.values() if len(set(of_name.values())) > 1]
    if varying:
        raise OtherShapes(
            "networks have parameters of different shapes",
            {trial_id: str([of_name.get(trial_id) for of_name in varying]) for trial_id in of_trials},
        )


def _data_of(config: Mapping[str, Any], seed: int) -> LightningDataModule:
    """The data module of a seed, set up in the streams that it has when trained alone."""
    streams = TrialStreams(seed)
    streams.data()
    data = make_data(config)
    if data is None:
        raise NotFusable("the model brings its own dataloaders")
    for stage in ("fit", "test"):
        streams.split()
        data.prepare_data()
        data.setup(stage)
    return data

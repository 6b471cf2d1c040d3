"""One training loop for many trials: what `train_trial` does for one, with a trial axis.

T trials; those of a cell stand together, since their optimizers are set alike. Every trial keeps its own initial
values, data order, dropout masks, optimizer, metrics and end.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn

from experiments.build import make_data, make_model
from experiments.seeding import NamedDraws, derive, seed_global_generators
from experiments.trial import DIVERGED, FINISHED, EpochEnded, Result, Trial, is_bad_loss

from .batches import NoTurns, StackedBatches, Turns, mapped
from .dropout import TrialDropout
from .means import Means
from .mixing import mix_activations
from .proof import prove
from .step import NotFusable, StackedModels
from .stopping import Patience, patience_of
from .updating import Updates, clip

BACKEND = "fused"
_DOUBLE = {"64-true", "64", 64}
_STEPS = {"train": "training_step", "val": "validation_step", "test": "test_step"}


def train_group(trials: Sequence[Trial], emit: Callable[[EpochEnded], None]) -> dict[str, Result]:
    """Train trials of one `structure` together, and return their results by id.

    Raises:
        NotFusable: when the group's first step is not that of its trials, or something cannot be stacked; nothing was
            trained then, and the trials can be trained alone.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)
    group = _Group(trials)
    group.fit(emit)
    seconds = (time.perf_counter() - started) / len(trials)
    return {trial.trial_id: group.result(place, seconds) for place, trial in enumerate(group.trials)}


class _Group:
    """T trials in training, proven to step as each would alone."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        cells = {id(trial.config): place for place, trial in reversed(list(enumerate(trials)))}
        self.trials = sorted(trials, key=lambda trial: (cells[id(trial.config)], trial.seed))
        self.trainer: Mapping[str, Any] = self.trials[0].config["trainer"]
        self.fabric = Fabric(accelerator=self.trainer.get("accelerator") or "auto", devices=1)
        self.dtype = torch.float64 if self.trainer.get("precision") in _DOUBLE else torch.float32
        self.seeds = sorted({trial.seed for trial in self.trials})
        self.data = [_data_of(self.trials[0].config, seed) for seed in self.seeds]
        models = [self._model_of(trial) for trial in self.trials]
        self.num_parameters = sum(parameter.numel() for parameter in models[0].parameters())
        first_of_cells = {
            cell: place for place, cell in reversed([(i, id(t.config)) for i, t in enumerate(self.trials)])
        }
        alone = {place: copy.deepcopy(models[place]) for place in first_of_cells.values()}
        self.stacked = StackedModels(models)
        self.updates = Updates(models, self.stacked.parameters)
        self.dropout = TrialDropout(models[0], _dropout_rates(models))
        mix_activations(models[0], models)
        self.loaders = {name: self._loaders(name) for name in _STEPS if self._has(name, models[0])}
        patience = patience_of(self.trainer.get("callbacks"))
        self.patience = None if patience is None else [Patience(patience) for _ in self.trials]
        self.epochs: list[list[dict[str, float]]] = [[] for _ in self.trials]
        self.tests: list[dict[str, float]] = [{} for _ in self.trials]
        self.diverged: list[int | None] = [None for _ in self.trials]
        self.has_ended = [False for _ in self.trials]
        first = next(iter(self.loaders["train"].epoch(0, self._turns("order", 0))))
        prove(self.stacked, alone, self.trials, self._placed(first), self.dtype)

    def fit(self, emit: Callable[[EpochEnded], None]) -> None:
        """Train every trial to its end, and test it there."""
        for epoch in range(self.trainer["max_epochs"]):
            turns = self._turns("order", epoch)
            losses, means = self._train_epoch(epoch, turns)
            if "val" in self.loaders:
                self._evaluate("val", means, turns)
            self.updates.end_epoch()
            ended = self._end_epoch(epoch, torch.isfinite(losses).tolist(), means, emit)
            if "test" in self.loaders and any(self.diverged[place] is None for place in ended):
                tests = Means(len(self.trials))
                self._evaluate("test", tests, self._turns("order", "test"))
                found = tests.of_trials()
                for place in ended:
                    self.tests[place] = found[place]
            if all(self.has_ended):
                return

    def result(self, place: int, seconds: float) -> Result:
        """What the trial at a place came to."""
        final: dict[str, float] = {}
        for metrics in [*self.epochs[place], self.tests[place]]:
            final.update(metrics)
        diverged = self.diverged[place]
        if diverged is None and any(is_bad_loss(name, value) for name, value in final.items()):
            diverged = len(self.epochs[place]) - 1
        return Result(
            status=FINISHED if diverged is None else DIVERGED,
            metrics=final if diverged is None else {},
            epochs=tuple(self.epochs[place]),
            seconds=seconds,
            backend=BACKEND,
            device=str(self.fabric.device),
            num_parameters=self.num_parameters,
            diverged_epoch=diverged,
        )

    def _train_epoch(self, epoch: int, turns: Turns | NoTurns) -> tuple[Tensor, Means]:
        """The sum of each trial's losses (T,), not finite as soon as one of them is not, and what was logged."""
        seeds = [derive(trial.seed, "dropout", epoch) for trial in self.trials]
        self.dropout.restart(seeds, self.fabric.device)
        clip_value = self.trainer.get("gradient_clip_val")
        algorithm = str(self.trainer.get("gradient_clip_algorithm") or "norm")
        means = Means(len(self.trials))
        losses = torch.zeros(len(self.trials), device=self.fabric.device)
        for batch_idx, batch in enumerate(self.loaders["train"].epoch(epoch, turns)):
            loss, logged = self.stacked.train_step(self._placed(batch), batch_idx)
            torch.autograd.backward(loss.sum())
            if clip_value:
                clip([p.grad for p in self.stacked.parameters.values() if p.grad is not None], clip_value, algorithm)
            self.updates.step()
            losses += loss.detach().float()
            means.add(logged)
        return losses, means

    def _evaluate(self, split: str, means: Means, turns: Turns | NoTurns) -> None:
        for batch_idx, batch in enumerate(self.loaders[split].epoch(0, turns)):
            means.add(self.stacked.eval_step(_STEPS[split], self._placed(batch), batch_idx))

    def _end_epoch(
        self, epoch: int, is_finite: Sequence[bool], means: Means, emit: Callable[[EpochEnded], None]
    ) -> list[int]:
        """Note the epoch of each trial that is still in training; the places of those for which it was the last.

        A trial that has ended goes on in the stack, where it changes nothing for the others, and nobody looks at it.
        """
        ended = []
        for place, metrics in enumerate(means.of_trials()):
            if self.has_ended[place]:
                continue
            self.epochs[place].append(metrics)
            if not is_finite[place] or any(is_bad_loss(name, value) for name, value in metrics.items()):
                self.diverged[place] = epoch
            emit(EpochEnded(trial_id=self.trials[place].trial_id, epoch=epoch, metrics=metrics))
            stops = self.patience is not None and self.patience[place].stops(metrics)
            if stops or self.diverged[place] is not None or epoch + 1 == self.trainer["max_epochs"]:
                self.has_ended[place] = True
                ended.append(place)
        return ended

    def _model_of(self, trial: Trial) -> LightningModule:
        data = self.data[self.seeds.index(trial.seed)]
        model = NamedDraws(trial.seed).build(partial(make_model, trial.config, data))
        return model.to(device=self.fabric.device, dtype=self.dtype)

    def _turns(self, *stream: object) -> Turns | NoTurns:
        """The data's generators, each seed's in its own state, at the start of a stream."""
        if not getattr(self.data[0], "uses_global_generators", True):
            return NoTurns()
        return Turns(lambda place: seed_global_generators(derive(self.seeds[place], *stream)), len(self.seeds))

    def _loaders(self, split: str) -> StackedBatches:
        loaders = [getattr(data, f"{split}_dataloader")() for data in self.data]
        if any(isinstance(loader, list | tuple | dict) for loader in loaders):
            raise NotFusable(f"{split}_dataloader returns several loaders")
        return StackedBatches(loaders, torch.tensor([self.seeds.index(trial.seed) for trial in self.trials]))

    def _has(self, split: str, model: LightningModule) -> bool:
        step, loader = _STEPS[split], f"{split}_dataloader"
        has_loader = getattr(type(self.data[0]), loader) is not getattr(LightningDataModule, loader)
        return has_loader and getattr(type(model), step) is not getattr(LightningModule, step)

    def _placed(self, batch: Any) -> Any:
        """The batch on the group's device, its floating-point tensors of the group's type."""
        return mapped(
            lambda x: x.to(self.fabric.device, self.dtype if x.is_floating_point() else x.dtype, non_blocking=True),
            batch,
        )


def _data_of(config: Mapping[str, Any], seed: int) -> LightningDataModule:
    """The data module of a seed, set up in the streams that it has when trained alone."""
    seed_global_generators(seed)
    data = make_data(config)
    if data is None:
        raise NotFusable("the model brings its own dataloaders")
    for stage in ("fit", "test"):
        seed_global_generators(derive(seed, "split"))
        data.prepare_data()
        data.setup(stage)
    return data


def _dropout_rates(models: Sequence[LightningModule]) -> dict[str, list[float]]:
    names = [name for name, layer in models[0].named_modules() if type(layer) is nn.Dropout]
    return {name: [float(model.get_submodule(name).p) for model in models] for name in names}  # type: ignore[arg-type]

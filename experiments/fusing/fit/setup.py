"""Set-up of a fused group: everything that exists before its training batches are read.

S seeds, T trials in rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule

from experiments.config.instantiate import make_model
from experiments.fusing.reading.batches import count_batches
from experiments.fusing.reading.group_data import GroupData
from experiments.fusing.reading.rows import Rows, arrange_in_rows
from experiments.study.mechanisms import MechanismsOptions
from experiments.training.step_harness import default_dtype
from experiments.training.streams import TrialStreams
from experiments.training.trainer_stub import TrainerStub
from experiments.trials.trial import Trial

from .allowed_callbacks import find_early_stopping, find_mechanisms
from .clipping import Clipping
from .fused_optimizers import OptimizerSettings, read_optimizer_settings
from .pretraining import PretrainingBatches, has_pretraining
from .step import EVALUATION_STEPS

_LOG_EVERY_N_STEPS = 50
"""Default of the Trainer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSetup:
    """Trials of a fused group with their data and models.

    data: of the seeds; loaders: (S,), of the training split.
    rows: order of the trials; models, settings: (T,), in that order.
    trainer_stub: `self.trainer` of all models.
    early_stopping: arguments of EarlyStopping, if the Trainer has it.
    mechanisms: options of the Mechanisms callback, if the Trainer has it.
    """

    data: GroupData
    loaders: tuple[Any, ...]
    rows: Rows
    models: tuple[LightningModule, ...]
    settings: tuple[OptimizerSettings, ...]
    trainer_stub: TrainerStub
    max_epochs: int
    log_every_n_steps: int
    clipping: Clipping
    early_stopping: Mapping[str, Any] | None
    mechanisms: MechanismsOptions | None

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of new floating-point tensors."""
        return self.data.dtype or torch.get_default_dtype()

    def has_split(self, split: str) -> bool:
        """Return whether "val" or "test" has both a loader and a step."""
        step = EVALUATION_STEPS[split]
        has_step = getattr(type(self.models[0]), step) is not getattr(LightningModule, step)
        return has_step and self.data.has_loader(split)


def set_up_group(trials: Sequence[Trial], data: GroupData) -> GroupSetup:
    """Build the models of a group, pretrain those that have pretraining, and order the trials.

    Raises:
        NotFusable: a loader does not know its length, or an optimizer or callback cannot be fused.
    """
    trainer = trials[0].config["trainer"]
    loaders = data.make_loaders("train")
    stub = TrainerStub(trainer["max_epochs"], count_batches(loaders[0]))
    models = _make_models(trials, data, stub)
    settings = {trial_id: read_optimizer_settings(model) for trial_id, model in models.items()}
    optimizers = {id(trial.config): repr(settings[trial.trial_id].optimizer) for trial in reversed(trials)}
    rows = arrange_in_rows(trials, lambda trial: optimizers[id(trial.config)])
    log_every = trainer.get("log_every_n_steps")
    return GroupSetup(
        data=data,
        loaders=tuple(loaders),
        rows=rows,
        models=tuple(models[trial.trial_id] for trial in rows.trials),
        settings=tuple(settings[trial.trial_id] for trial in rows.trials),
        trainer_stub=stub,
        max_epochs=trainer["max_epochs"],
        log_every_n_steps=_LOG_EVERY_N_STEPS if log_every is None else log_every,
        clipping=Clipping(
            value=trainer.get("gradient_clip_val"), algorithm=str(trainer.get("gradient_clip_algorithm") or "norm")
        ),
        early_stopping=find_early_stopping(trainer.get("callbacks")),
        mechanisms=find_mechanisms(trainer.get("callbacks")),
    )


def _make_models(trials: Sequence[Trial], data: GroupData, stub: TrainerStub) -> dict[str, LightningModule]:
    """Make models by trial id, seed by seed, so that the pretraining batches of one seed at a time are in memory."""
    models: dict[str, LightningModule] = {}
    for seed, module in zip(data.seeds, data.modules, strict=True):
        pretraining_batches = PretrainingBatches(module, TrialStreams(seed), data.device)
        for trial in trials:
            if trial.seed == seed:
                models[trial.trial_id] = _make_model(trial, module, stub, data, pretraining_batches)
    return models


def _make_model(
    trial: Trial,
    module: LightningDataModule,
    stub: TrainerStub,
    data: GroupData,
    pretraining: PretrainingBatches,
) -> LightningModule:
    streams = TrialStreams(trial.seed)
    model = streams.model(partial(make_model, trial.config, module))
    model.trainer = stub  # type: ignore[assignment]
    streams.late()
    with default_dtype(data.dtype or torch.get_default_dtype()):
        model.configure_model()
    model = model.to(device=data.device, dtype=data.dtype)
    if has_pretraining(model):
        model.pretrain(pretraining)  # type: ignore[operator]
    return model

"""Start of a trial: its module with its initial values, and its first training batch, as in unfused training."""

from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule

from experiments.config.instantiate import make_data, make_model
from experiments.errors import InputError
from experiments.training.step_harness import describe_error
from experiments.training.streams import TrialStreams
from experiments.training.trainer_stub import NeedsTrainer, TrainerStub
from experiments.trials.trial import Trial


def prepare_trial(trial: Trial) -> tuple[LightningModule, Any]:
    """Return a trial's module and first training batch.

    Raises:
        InputError: there are no training batches, or the module needs a Trainer before its first one.
    """
    torch.set_num_threads(1)
    streams = TrialStreams(trial.seed)
    streams.data()
    data = make_data(trial.config)
    model = streams.model(partial(make_model, trial.config, data))
    model.trainer = TrainerStub(trial.config["trainer"].get("max_epochs") or 1, 1)  # type: ignore[assignment]
    if data is not None:
        streams.split()
        data.prepare_data()
        data.setup("fit")
    streams.late()
    try:
        model.setup("fit")
        model.configure_model()
    except NeedsTrainer as finding:
        raise InputError(f"{trial}: {finding} before its first batch, and this check has no Trainer") from finding
    try:
        loader = (model if data is None else data).train_dataloader()
        streams.order(0)
        batch = next(iter(loader), None)
    except Exception as error:
        raise InputError(
            f"{trial}: its training batches cannot be read: {describe_error(error)}; one is needed, of the data module "
            "or of the model's own train_dataloader"
        ) from error
    if batch is None:
        raise InputError(f"{trial}: there are no training batches")
    for hook in ("on_before_batch_transfer", "on_after_batch_transfer"):
        is_own = data is not None and getattr(type(data), hook) is not getattr(LightningDataModule, hook)
        batch = getattr(data if is_own else model, hook)(batch, 0)
    return model, batch

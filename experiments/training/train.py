"""Training of one trial with the Lightning Trainer, from its configuration and seed to its Result.

The module, the data module and the Trainer's arguments are the user's. Only these are added: a logger that keeps the
logged metrics, random streams that do not depend on the model, a stop when a loss is not finite, and a record of the
test examples that were right.
"""

import logging
import re
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from experiments.config.instantiate import make_data, make_model, make_trainer_arguments
from experiments.text import escape_surrogates
from experiments.trials.identity import count_devices
from experiments.trials.trial import EpochEnded, Result, Trial, TrialStatus, is_bad_loss

from .correct_examples import CorrectExamples
from .epoch_means import EpochMeans
from .loggers import WandbRunGuard, name_log_folders
from .multi_device import RankLostError, is_rank, share_loaders, train_in_ranks
from .paired_streams import PairedStreams
from .step_harness import find_loss
from .streams import TrialStreams

Emit = Callable[[EpochEnded], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Argument of `train_trial`: the trial, and a folder for the files of the user's callbacks."""

    trial: Trial
    directory: Path


def train_trial(training: Training, emit: Emit) -> Result:
    """Train and test one trial. An error in the user's code gives a failed Result with its traceback.

    Raises:
        KeyboardInterrupt: the command was interrupted, or this process got a signal to end.
        RankLostError: a trial has several devices, and the process of one of them is gone.
    """
    started = time.perf_counter()
    try:
        if count_devices(training.trial.config["trainer"]["devices"]) > 1:
            result = train_in_ranks(_train_guarded, training, training.trial, emit)
        else:
            result = _train_guarded(training, emit)
    except RankLostError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, SIGTERMException) or isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error  # the Trainer turns Ctrl-C into exit(1), and SIGTERM into its own exit
        result = Result(status=TrialStatus.FAILED, error=escape_surrogates("".join(traceback.format_exception(error))))
    return replace(result, seconds=time.perf_counter() - started)


def _train_guarded(training: Training, emit: Emit) -> Result:
    with WandbRunGuard() as guard:
        result = _train(training, emit, guard)
        guard.end_trial(has_failed=result.status == TrialStatus.FAILED)
    return result


def _train(training: Training, emit: Emit, guard: WandbRunGuard) -> Result:
    trial = training.trial
    torch.set_num_threads(1)  # two workers with two threads each on two cores are ten times slower
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    streams = TrialStreams(trial.seed)
    streams.data()
    data = make_data(trial.config)
    model = streams.model(lambda: make_model(trial.config, data))
    metrics_logger = _MetricsLogger()
    paired = PairedStreams(streams, model if data is None else data)
    reporter = _EpochReporter(trial.trial_id, metrics_logger, emit)
    correct = CorrectExamples()
    if is_rank():
        share_loaders(model if data is None else data)
    trainer = _make_trainer(trial, training.directory, [EpochMeans(), paired, reporter, correct], metrics_logger)
    guard.watch(trainer.loggers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)  # advice on num_workers and the like
        warnings.filterwarnings("ignore", message="Total length of .* across ranks is zero")  # a split of size 0
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # Lightning's own use of torch
        streams.split()
        trainer.fit(model, datamodule=data)
        unlogged = dict(trainer.callback_metrics)  # those of self.log(..., logger=False) too
        if reporter.diverged_epoch is None and _has_test(model, data):
            streams.split()
            metrics_logger.start_test()
            trainer.test(model, datamodule=data, verbose=False)
            unlogged |= trainer.callback_metrics
    metrics = {name: float(value) for name, value in unlogged.items()} | metrics_logger.final_metrics()
    diverged_epoch = reporter.diverged_epoch
    if diverged_epoch is None and any(is_bad_loss(name, value) for name, value in metrics.items()):
        diverged_epoch = max(len(metrics_logger.epochs) - 1, 0)
    diverged = diverged_epoch is not None
    return Result(
        status=TrialStatus.DIVERGED if diverged else TrialStatus.FINISHED,
        metrics={} if diverged else metrics,
        epochs=tuple(metrics_logger.epochs),
        device=_describe_device(trainer),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        diverged_epoch=diverged_epoch,
        correct=None if diverged else correct.correct,
    )


def _make_trainer(trial: Trial, directory: Path, callbacks: list[Callback], metrics_logger: Logger) -> Trainer:
    """Make the study's Trainer. By default it draws no progress bar, writes no files and runs no sanity check."""
    arguments = make_trainer_arguments(name_log_folders(trial))
    users_callbacks = arguments["callbacks"] or []
    users_callbacks = users_callbacks if isinstance(users_callbacks, list) else [users_callbacks]
    logger = arguments["logger"]
    if logger is True:
        logger = CSVLogger(directory / trial.trial_id)
    loggers = [] if logger in (None, False) else [logger] if isinstance(logger, Logger) else logger
    arguments["devices"] = _visible_devices(arguments["devices"])
    arguments["plugins"] = _add_environment(arguments["plugins"])
    if isinstance(arguments["strategy"], str):  # the processes exist already
        arguments["strategy"] = re.sub("_(spawn|fork|notebook)", "", arguments["strategy"])
    for name in ("enable_progress_bar", "enable_model_summary"):
        arguments[name] = bool(arguments[name])
    if arguments["enable_checkpointing"] is None:
        arguments["enable_checkpointing"] = any(isinstance(callback, Checkpoint) for callback in users_callbacks)
    if arguments["num_sanity_val_steps"] is None:
        arguments["num_sanity_val_steps"] = 0
    arguments["default_root_dir"] = directory / trial.trial_id / (arguments["default_root_dir"] or "")
    arguments["callbacks"] = [*callbacks, *users_callbacks]
    arguments["logger"] = [*(loggers if isinstance(loggers, list) else [loggers]), metrics_logger]
    return Trainer(**arguments)


def _visible_devices(devices: Any) -> Any:
    """Return the devices if this process sees all of them, else their number."""
    if isinstance(devices, list) and all(isinstance(number, int) for number in devices):
        return devices if max(devices, default=0) < torch.cuda.device_count() else len(devices)
    return count_devices(devices)


def _add_environment(plugins: Any) -> list[Any]:
    """Add a plugin that keeps the Trainer from taking this process for a task of a SLURM or torchrun job.

    It may run within such a job, but a job has many trials, and their processes are not started by it.
    """
    plugins = [] if plugins is None else plugins if isinstance(plugins, list) else [plugins]
    has_environment = any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
    return plugins if has_environment else [*plugins, LightningEnvironment()]


def _describe_device(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    return str(device) if trainer.world_size == 1 else f"{trainer.world_size} x {device.type}"


def _has_test(model: LightningModule, data: LightningDataModule | None) -> bool:
    """Return whether there are a test_step and a test_dataloader, which Lightning does not require."""
    base, owner = (LightningModule, model) if data is None else (LightningDataModule, data)
    has_loader = type(owner).test_dataloader is not base.test_dataloader
    return has_loader and type(model).test_step is not LightningModule.test_step


def _use_one_kernel(optimizer: torch.optim.Optimizer) -> None:
    """Set `fused=True` on a CPU too, if torch implements it and the user did not choose.

    One kernel then updates all parameters, with the same formula and other rounding. It saves a sixth of a small
    network's step with Adam.
    """
    if type(optimizer) not in {torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad}:
        return
    for group in optimizer.param_groups:
        is_free = group.get("fused") is None and group.get("foreach") is None
        is_plain = not group.get("differentiable") and not group.get("capturable")
        on_cpu = all(p.device.type == "cpu" and p.is_floating_point() and not p.is_sparse for p in group["params"])
        if is_free and is_plain and on_cpu:
            group["fused"] = True


class _MetricsLogger(Logger):
    """Lightning logger that keeps the last value of every metric in each epoch and in the test."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, float]] = []
        self._test: dict[str, float] | None = None

    @property
    def name(self) -> str:
        """Return "", so that checkpoints of a trial without another logger are directly in its folder."""
        return ""

    @property
    def version(self) -> str:
        """Return "", for the same reason."""
        return ""

    @property
    def experiment(self) -> "_NullExperiment":
        """Return an object that discards figures and texts of a module without another logger."""
        return _NullExperiment()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Ignore hyperparameters; the ledger has the configuration."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep metrics, which come after each validation and epoch, and from on_step logging."""
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if self._test is not None:
            self._test.update(values)
            return
        epoch = int(metrics["epoch"]) if "epoch" in metrics else max(len(self.epochs) - 1, 0)
        while len(self.epochs) <= epoch:
            self.epochs.append({})
        self.epochs[epoch].update(values)

    def start_test(self) -> None:
        """Keep the metrics that follow as those of the test."""
        self._test = {}

    def final_metrics(self) -> dict[str, float]:
        """Return the last value of every metric."""
        final: dict[str, float] = {}
        for metrics in [*self.epochs, self._test or {}]:
            final.update(metrics)
        return final


class _NullExperiment:
    """Object that accepts any attribute, item and call."""

    def __getattr__(self, name: str) -> "_NullExperiment":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> "_NullExperiment":
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "_NullExperiment":
        return self


class _EpochReporter(Callback):
    """Callback that emits each epoch, and stops a trial whose loss is not finite."""

    def __init__(self, trial_id: str, metrics_logger: _MetricsLogger, emit: Emit) -> None:
        self.diverged_epoch: int | None = None
        self._trial_id = trial_id
        self._metrics_logger = metrics_logger
        self._emit = emit
        self._sum: torch.Tensor | None = None  # of the epoch's losses; not finite as soon as one loss is not
        self._num_emitted = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the kernel of the optimizers, which have no state yet."""
        if any(getattr(module, "sparse", False) for module in pl_module.modules()):
            return  # the kernel does not support sparse gradients
        for optimizer in trainer.optimizers:
            _use_one_kernel(optimizer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Emit the epoch before, which is complete now."""
        self._emit_epochs()
        self._sum = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add up the losses on the device, without synchronisation."""
        loss = find_loss(outputs)
        if loss is not None:
            loss = loss.detach().float()  # a sum of half-precision losses would overflow by itself
            self._sum = loss if self._sum is None else self._sum + loss

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if the sum of the losses, or a loss that validation logged, is not finite."""
        is_bad = self._sum is not None and not bool(torch.isfinite(self._sum).all())
        epochs = self._metrics_logger.epochs
        logged = epochs[-1] if len(epochs) > trainer.current_epoch else {}
        is_bad = is_bad or any(is_bad_loss(name, value) for name, value in logged.items())
        if not trainer.strategy.reduce_boolean_decision(is_bad, all=False):  # on any device
            return
        if self.diverged_epoch is None:
            self.diverged_epoch = trainer.current_epoch
        trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Emit the last epoch."""
        self._emit_epochs()

    def _emit_epochs(self) -> None:
        while self._num_emitted < len(self._metrics_logger.epochs):
            metrics = self._metrics_logger.epochs[self._num_emitted]
            self._emit(EpochEnded(trial_id=self._trial_id, epoch=self._num_emitted, metrics=metrics))
            self._num_emitted += 1

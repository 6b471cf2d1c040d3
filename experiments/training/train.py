"""One trial with the Lightning Trainer: a configuration and a seed in, a Result out.

The module, the data module and the Trainer's arguments are the user's. Added are only: a logger that notes what
`self.log` sends, streams of randomness that do not depend on the model, a stop when a loss is no longer finite, and a
look at which test examples are right.
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
from experiments.text import writable
from experiments.trials.identity import count_devices
from experiments.trials.trial import EpochEnded, Result, Trial, TrialStatus, is_bad_loss

from .correct_examples import CorrectExamples
from .epoch_means import EpochMeans
from .loggers import OwnRuns, with_own_folders
from .multi_device import RankLostError, is_rank, share_loaders, train_in_ranks
from .paired_streams import PairedStreams
from .step_harness import find_loss
from .streams import TrialStreams

Emit = Callable[[EpochEnded], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a runner hands to `train_trial`: the trial, and a folder for whatever the user's callbacks write."""

    trial: Trial
    directory: Path


def train_trial(training: Training, emit: Emit) -> Result:
    """Train and test one trial. Whatever the user's code raises becomes a failed Result with its traceback.

    Raises:
        KeyboardInterrupt: when the command is interrupted, or this process is told to end.
        RankLostError: when a trial has several devices, and the process of one of them is gone.
    """
    started = time.perf_counter()
    try:
        if count_devices(training.trial.config["trainer"]["devices"]) > 1:
            result = train_in_ranks(_train_with_own_loggers, training, training.trial, emit)
        else:
            result = _train_with_own_loggers(training, emit)
    except RankLostError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, SIGTERMException) or isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error  # the Trainer turns Ctrl-C into exit(1), and SIGTERM into its own exit
        result = Result(status=TrialStatus.FAILED, error=writable("".join(traceback.format_exception(error))))
    return replace(result, seconds=time.perf_counter() - started)


def _train_with_own_loggers(training: Training, emit: Emit) -> Result:
    with OwnRuns() as runs:
        result = _train(training, emit, runs)
        runs.end_trial(has_failed=result.status == TrialStatus.FAILED)
    return result


def _train(training: Training, emit: Emit, runs: OwnRuns) -> Result:
    trial = training.trial
    torch.set_num_threads(1)  # two workers with two threads each on two cores are ten times slower
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    streams = TrialStreams(trial.seed)
    streams.data()
    data = make_data(trial.config)
    model = streams.model(lambda: make_model(trial.config, data))
    recorder = _Recorder()
    paired = PairedStreams(streams, model if data is None else data)
    watch = _Watch(trial.trial_id, recorder, emit)
    examples = CorrectExamples()
    if is_rank():
        share_loaders(model if data is None else data)
    trainer = _trainer(trial, training.directory, [EpochMeans(), paired, watch, examples], recorder)
    runs.watch(trainer.loggers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)  # advice on num_workers and the like
        warnings.filterwarnings("ignore", message="Total length of .* across ranks is zero")  # a split of size 0
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # Lightning's own use of torch
        streams.split()
        trainer.fit(model, datamodule=data)
        unlogged = dict(trainer.callback_metrics)  # those of self.log(..., logger=False) too
        if watch.diverged_epoch is None and _has_test(model, data):
            streams.split()
            recorder.test()
            trainer.test(model, datamodule=data, verbose=False)
            unlogged |= trainer.callback_metrics
    metrics = {name: float(value) for name, value in unlogged.items()} | recorder.final()
    diverged_epoch = watch.diverged_epoch
    if diverged_epoch is None and any(is_bad_loss(name, value) for name, value in metrics.items()):
        diverged_epoch = max(len(recorder.epochs) - 1, 0)
    diverged = diverged_epoch is not None
    return Result(
        status=TrialStatus.DIVERGED if diverged else TrialStatus.FINISHED,
        metrics={} if diverged else metrics,
        epochs=tuple(recorder.epochs),
        device=_device(trainer),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        diverged_epoch=diverged_epoch,
        correct=None if diverged else examples.correct,
    )


def _trainer(trial: Trial, directory: Path, callbacks: list[Callback], recorder: Logger) -> Trainer:
    """The study's Trainer. Where it says nothing, nothing is drawn, written or checked that a trial does not need."""
    arguments = make_trainer_arguments(with_own_folders(trial))
    own = arguments["callbacks"] or []
    own = own if isinstance(own, list) else [own]
    logger = arguments["logger"]
    if logger is True:
        logger = CSVLogger(directory / trial.trial_id)
    loggers = [] if logger in (None, False) else [logger] if isinstance(logger, Logger) else logger
    arguments["devices"] = _devices(arguments["devices"])
    arguments["plugins"] = _with_environment(arguments["plugins"])
    if isinstance(arguments["strategy"], str):  # the processes are there already: none is to be started, or forked
        arguments["strategy"] = re.sub("_(spawn|fork|notebook)", "", arguments["strategy"])
    for name in ("enable_progress_bar", "enable_model_summary"):
        arguments[name] = bool(arguments[name])
    if arguments["enable_checkpointing"] is None:
        arguments["enable_checkpointing"] = any(isinstance(callback, Checkpoint) for callback in own)
    if arguments["num_sanity_val_steps"] is None:
        arguments["num_sanity_val_steps"] = 0
    arguments["default_root_dir"] = directory / trial.trial_id / (arguments["default_root_dir"] or "")
    arguments["callbacks"] = [*callbacks, *own]
    arguments["logger"] = [*(loggers if isinstance(loggers, list) else [loggers]), recorder]
    return Trainer(**arguments)


def _devices(devices: Any) -> Any:
    """How many of the devices that this process sees; the very ones where all of them are seen."""
    if isinstance(devices, list) and all(isinstance(number, int) for number in devices):
        return devices if max(devices, default=0) < torch.cuda.device_count() else len(devices)
    return count_devices(devices)


def _with_environment(plugins: Any) -> list[Any]:
    """The Trainer's plugins, and one that keeps it from taking this process for a task of a SLURM or torchrun job.

    It is within one, perhaps, but others have started the processes of a trial, and a job has many trials.
    """
    found = [] if plugins is None else plugins if isinstance(plugins, list) else [plugins]
    has_own = any(isinstance(plugin, ClusterEnvironment) for plugin in found)
    return found if has_own else [*found, LightningEnvironment()]


def _device(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    return str(device) if trainer.world_size == 1 else f"{trainer.world_size} x {device.type}"


def _has_test(model: LightningModule, data: LightningDataModule | None) -> bool:
    """Whether there is a test_step and a test_dataloader, neither of which Lightning asks for."""
    base, owner = (LightningModule, model) if data is None else (LightningDataModule, data)
    has_loader = type(owner).test_dataloader is not base.test_dataloader
    return has_loader and type(model).test_step is not LightningModule.test_step


def _use_one_kernel(optimizer: torch.optim.Optimizer) -> None:
    """Let torch update all parameters in one kernel on a CPU too, where that is implemented and nobody chose otherwise.

    It is what `fused=True` does (the same formula, other rounding): a sixth of a small network's step with Adam.
    """
    if type(optimizer) not in {torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad}:
        return
    for group in optimizer.param_groups:
        is_free = group.get("fused") is None and group.get("foreach") is None
        is_plain = not group.get("differentiable") and not group.get("capturable")
        on_cpu = all(p.device.type == "cpu" and p.is_floating_point() and not p.is_sparse for p in group["params"])
        if is_free and is_plain and on_cpu:
            group["fused"] = True


class _Recorder(Logger):
    """A Lightning logger that keeps, per epoch, the last value of every metric; and those of the test."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[dict[str, float]] = []
        self._test: dict[str, float] | None = None

    @property
    def name(self) -> str:
        """None to speak of: checkpoints of a trial without another logger lie in its folder itself."""
        return ""

    @property
    def version(self) -> str:
        """None to speak of."""
        return ""

    @property
    def experiment(self) -> "_Nothing":
        """What a module writes figures and texts to when it has no other logger: they go nowhere."""
        return _Nothing()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The ledger holds the configuration already."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Note what the Trainer sends: at the end of each validation and each epoch, and from on_step logging."""
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if self._test is not None:
            self._test.update(values)
            return
        epoch = int(metrics["epoch"]) if "epoch" in metrics else max(len(self.epochs) - 1, 0)
        while len(self.epochs) <= epoch:
            self.epochs.append({})
        self.epochs[epoch].update(values)

    def test(self) -> None:
        """From here on, what comes is of the test."""
        self._test = {}

    def final(self) -> dict[str, float]:
        """The last value of every metric."""
        final: dict[str, float] = {}
        for metrics in [*self.epochs, self._test or {}]:
            final.update(metrics)
        return final


class _Nothing:
    """Takes any attribute, item and call."""

    def __getattr__(self, name: str) -> "_Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> "_Nothing":
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "_Nothing":
        return self


class _Watch(Callback):
    """Tells the driver of each epoch, and stops a trial whose loss is not finite."""

    def __init__(self, trial_id: str, recorder: _Recorder, emit: Emit) -> None:
        self.diverged_epoch: int | None = None
        self._trial_id = trial_id
        self._recorder = recorder
        self._emit = emit
        self._sum: torch.Tensor | None = None  # of the epoch's losses: not finite as soon as one of them is not
        self._told = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The optimizers are there, and have no state yet."""
        if any(getattr(module, "sparse", False) for module in pl_module.modules()):
            return  # whose gradients that kernel does not take
        for optimizer in trainer.optimizers:
            _use_one_kernel(optimizer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch before is complete now, with everything that its end logged."""
        self._tell()
        self._sum = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adding on the device costs no synchronisation."""
        loss = find_loss(outputs)
        if loss is not None:
            loss = loss.detach().float()  # a sum of half-precision losses would overflow by itself
            self._sum = loss if self._sum is None else self._sum + loss

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One look at the sum an epoch, and at the losses that validation logged."""
        is_bad = self._sum is not None and not bool(torch.isfinite(self._sum).all())
        epochs = self._recorder.epochs
        logged = epochs[-1] if len(epochs) > trainer.current_epoch else {}
        is_bad = is_bad or any(is_bad_loss(name, value) for name, value in logged.items())
        if not trainer.strategy.reduce_boolean_decision(is_bad, all=False):  # on any device
            return
        if self.diverged_epoch is None:
            self.diverged_epoch = trainer.current_epoch
        trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last epoch is complete now."""
        self._tell()

    def _tell(self) -> None:
        while self._told < len(self._recorder.epochs):
            metrics = self._recorder.epochs[self._told]
            self._emit(EpochEnded(trial_id=self._trial_id, epoch=self._told, metrics=metrics))
            self._told += 1

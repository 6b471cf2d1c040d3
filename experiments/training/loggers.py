"""Loggers that a study configures: each trial gets its own, with its own folder and W&B run.

Lightning's loggers do not expect several trials in one process. `WandbLogger` never ends its run and reuses a run that
is open in the process, so all trials would write to one run of W&B. `CSVLogger` and `TensorBoardLogger` count folders
to find the next number, so two processes may choose the same.
"""

import copy
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from lightning.pytorch.loggers import Logger

from experiments.trials.trial import Trial

_NUMBERED = {"CSVLogger", "TensorBoardLogger"}
_MODE = "WANDB_MODE"  # WandbLogger(offline=True) sets it for the rest of the process


def name_log_folders(trial: Trial) -> Mapping[str, Any]:
    """Return the trial's configuration in which loggers name their folders by the trial's id instead of a number."""
    logger = (trial.config.get("trainer") or {}).get("logger")
    if not isinstance(logger, dict | list):
        return trial.config
    logger = copy.deepcopy(logger)
    for spec in logger if isinstance(logger, list) else [logger]:
        if spec["class_path"].rpartition(".")[2] in _NUMBERED and (spec.get("init_args") or {}).get("version") is None:
            spec["init_args"] = {**(spec.get("init_args") or {}), "version": trial.trial_id}
    return {**trial.config, "trainer": {**trial.config["trainer"], "logger": logger}}


class WandbRunGuard:
    """Context manager around a trial that ends the W&B runs that it opened, and no run that was open before."""

    def __init__(self) -> None:
        self._loggers: Sequence[Logger] = ()
        self._has_failed = True

    def watch(self, loggers: Sequence[Logger]) -> None:
        """Set the loggers of the trial, once they are known."""
        self._loggers = loggers

    def end_trial(self, *, has_failed: bool) -> None:
        """Record how the trial ended; without it, W&B shows the trial's runs as failed."""
        self._has_failed = has_failed

    def __enter__(self) -> Self:
        self._run_before = _find_open_run()
        self._mode = os.environ.get(_MODE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if "wandb" in sys.modules:
            for run in {id(run): run for run in [*self._find_runs(), _find_open_run()] if run is not None}.values():
                if run is not self._run_before:
                    self._end(run)
        if self._mode is None:
            os.environ.pop(_MODE, None)
        else:
            os.environ[_MODE] = self._mode

    def _find_runs(self) -> list[Any]:
        """Return the runs of the loggers. A logger without a version has no run yet; reading it would open one."""
        kind = sys.modules["wandb"].Run
        runs = [
            getattr(logger, "experiment", None)
            for logger in self._loggers
            if _is_wandb_logger(logger) and logger.version is not None
        ]
        return [run for run in runs if isinstance(run, kind)]

    def _end(self, run: Any) -> None:
        try:
            run.finish(exit_code=1 if self._has_failed else 0)
        except Exception as error:  # noqa: BLE001 -- the trial has its result all the same
            warnings.warn(f"the W&B run {run.id} could not be ended: {error}", stacklevel=2)


def _is_wandb_logger(logger: Logger) -> bool:
    """Return whether a logger is a WandbLogger or derived from it, without an import."""
    return any(kind.__name__ == "WandbLogger" for kind in type(logger).__mro__)


def _find_open_run() -> Any:
    """Return the run that W&B's own functions write to; None if there is none, or wandb is not imported."""
    wandb = sys.modules.get("wandb")
    return getattr(wandb, "run", None)

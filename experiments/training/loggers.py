"""The loggers that a study names itself: each trial has its own, under its own name, and what they hold ends with it.

Trials follow one another in one process, which Lightning's loggers do not expect. `WandbLogger` never ends its run, and
takes the run that is open in the process before it opens one, so without this all trials would be one run of W&B.
`CSVLogger` and `TensorBoardLogger` count folders to find the next number, so two processes may find the same.
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
_MODE = "WANDB_MODE"  # which WandbLogger(offline=True) sets for all that the process does afterwards


def with_own_folders(trial: Trial) -> Mapping[str, Any]:
    """The trial's configuration, in which loggers that would number their folders are given the trial's id instead."""
    logger = (trial.config.get("trainer") or {}).get("logger")
    if not isinstance(logger, dict | list):
        return trial.config
    logger = copy.deepcopy(logger)
    for each in logger if isinstance(logger, list) else [logger]:
        if each["class_path"].rpartition(".")[2] in _NUMBERED and (each.get("init_args") or {}).get("version") is None:
            each["init_args"] = {**(each.get("init_args") or {}), "version": trial.trial_id}
    return {**trial.config, "trainer": {**trial.config["trainer"], "logger": logger}}


class OwnRuns:
    """In a `with` block around a trial: the runs of W&B that it opened are ended, and none that was open before it."""

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
        self._before = _open_run()
        self._mode = os.environ.get(_MODE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if "wandb" in sys.modules:
            for run in {id(run): run for run in [*self._held(), _open_run()] if run is not None}.values():
                if run is not self._before:
                    self._end(run)
        if self._mode is None:
            os.environ.pop(_MODE, None)
        else:
            os.environ[_MODE] = self._mode

    def _held(self) -> list[Any]:
        """The runs of the loggers; one whose version is not known has none, and asking for it would open it."""
        kind = sys.modules["wandb"].Run
        held = [
            getattr(logger, "experiment", None)
            for logger in self._loggers
            if _is_of_wandb(logger) and logger.version is not None
        ]
        return [run for run in held if isinstance(run, kind)]

    def _end(self, run: Any) -> None:
        try:
            run.finish(exit_code=1 if self._has_failed else 0)
        except Exception as error:  # noqa: BLE001 -- the trial has its result, whatever its own logger does
            warnings.warn(f"the run {run.id} of W&B could not be ended: {error}", stacklevel=2)


def _is_of_wandb(logger: Logger) -> bool:
    """Without importing anything: also a user's logger that derives from Lightning's."""
    return any(kind.__name__ == "WandbLogger" for kind in type(logger).__mro__)


def _open_run() -> Any:
    """The run of this process that W&B's own functions write to; None where there is none, or wandb is not used."""
    wandb = sys.modules.get("wandb")
    return getattr(wandb, "run", None)

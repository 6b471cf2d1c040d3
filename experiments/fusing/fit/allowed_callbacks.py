"""Callbacks that trials in one loop may have: EarlyStopping, for each trial by itself, and Mechanisms."""

import math
from collections.abc import Mapping
from typing import Any

from experiments.fusing.reasons import NotFusable
from experiments.study.mechanisms import Options, is_callback, list_callbacks, read_callback

_CLASS_PATHS = (
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
)


class EarlyStop:
    """EarlyStopping of one trial.

    Args:
        arguments: of lightning.pytorch.callbacks.EarlyStopping, with its defaults filled in.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._sign = 1.0 if arguments["mode"] == "min" else -1.0
        self._best = math.inf
        self._num_waited = 0

    def end_epoch(self, metrics: Mapping[str, float]) -> bool:
        """Return whether the trial stops after an epoch with these metrics.

        Raises:
            NotFusable: the monitored metric is missing; the callback has its own error for this.
        """
        arguments = self._arguments
        monitor = arguments["monitor"]
        if monitor not in metrics:
            if arguments["strict"]:
                raise NotFusable(f"EarlyStopping monitors {monitor!r}, which is not logged")
            return False
        value = metrics[monitor]
        if arguments["check_finite"] and not math.isfinite(value):
            return True
        signed = self._sign * value
        for threshold, is_passed in (("stopping_threshold", signed.__lt__), ("divergence_threshold", signed.__gt__)):
            if arguments[threshold] is not None and is_passed(self._sign * arguments[threshold]):
                return True
        if signed < self._best - arguments["min_delta"]:
            self._best, self._num_waited = signed, 0
            return False
        self._num_waited += 1
        return self._num_waited >= int(arguments["patience"])


def find_early_stopping(callbacks: Any) -> Mapping[str, Any] | None:
    """Return the arguments of the EarlyStopping among a trainer's callbacks; None if there is none.

    Raises:
        NotFusable: there are several, or another callback that is not Mechanisms.
    """
    specs = [spec for spec in list_callbacks(callbacks) if not is_callback(spec)]
    others = [spec["class_path"].rpartition(".")[2] for spec in specs if spec.get("class_path") not in _CLASS_PATHS]
    if others:
        raise NotFusable(f"the callback {others[0]} needs the Lightning Trainer")
    if len(specs) > 1:
        raise NotFusable("it has several EarlyStopping callbacks")
    arguments = specs[0]["init_args"] if specs else None
    if arguments is not None and arguments.get("check_on_train_epoch_end") is False:
        raise NotFusable("EarlyStopping with check_on_train_epoch_end=False stops in the middle of an epoch")
    return arguments


def find_mechanisms(callbacks: Any) -> Options | None:
    """Return the options of the Mechanisms callback among a trainer's callbacks; None if there is none.

    Raises:
        NotFusable: there are several.
    """
    specs = [spec for spec in list_callbacks(callbacks) if is_callback(spec)]
    if len(specs) > 1:
        raise NotFusable("it has several callbacks that measure mechanisms")
    return read_callback(specs[0]) if specs else None

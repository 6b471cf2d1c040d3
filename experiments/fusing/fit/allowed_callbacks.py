"""Callbacks that a fused group supports: EarlyStopping, applied per trial, and Mechanisms."""

import math
from collections.abc import Mapping
from typing import Any

from experiments.fusing.reasons import NotFusable
from experiments.study.mechanisms import (
    MechanismsOptions,
    is_mechanisms_callback,
    list_callbacks,
    read_mechanisms_options,
)

_EARLY_STOPPING_PATHS = (
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
)


class EarlyStop:
    """EarlyStopping of one trial.

    Args:
        arguments: init_args of EarlyStopping, defaults included.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._sign = 1.0 if arguments["mode"] == "min" else -1.0
        self._best = math.inf
        self._wait_count = 0

    def should_stop(self, metrics: Mapping[str, float]) -> bool:
        """Return whether the trial stops after an epoch with these metrics. Call it once per epoch.

        Raises:
            NotFusable: the monitored metric is missing. The trial is then trained unfused, where Lightning's
                EarlyStopping raises its own error.
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
            self._best, self._wait_count = signed, 0
            return False
        self._wait_count += 1
        return self._wait_count >= int(arguments["patience"])


def find_early_stopping(callbacks: Any) -> Mapping[str, Any] | None:
    """Return the arguments of the EarlyStopping among a trainer's callbacks; None if there is none.

    Raises:
        NotFusable: there is more than one EarlyStopping, or any callback other than EarlyStopping and Mechanisms.
    """
    specs = [spec for spec in list_callbacks(callbacks) if not is_mechanisms_callback(spec)]
    others = [
        spec["class_path"].rpartition(".")[2] for spec in specs if spec.get("class_path") not in _EARLY_STOPPING_PATHS
    ]
    if others:
        raise NotFusable(f"the callback {others[0]} needs the Lightning Trainer")
    if len(specs) > 1:
        raise NotFusable("it has more than one EarlyStopping")
    arguments = specs[0]["init_args"] if specs else None
    if arguments is not None and arguments.get("check_on_train_epoch_end") is False:
        raise NotFusable(
            "EarlyStopping with check_on_train_epoch_end=False checks at the end of validation, which may be mid-epoch"
        )
    return arguments


def find_mechanisms(callbacks: Any) -> MechanismsOptions | None:
    """Return the options of the Mechanisms callback among a trainer's callbacks; None if there is none.

    Raises:
        NotFusable: there is more than one.
    """
    specs = [spec for spec in list_callbacks(callbacks) if is_mechanisms_callback(spec)]
    if len(specs) > 1:
        raise NotFusable("it has more than one Mechanisms callback")
    return read_mechanisms_options(specs[0]) if specs else None

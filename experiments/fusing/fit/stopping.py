"""The callbacks that trials in one loop may have: Lightning's EarlyStopping, for each by itself, and Mechanisms."""

import math
from collections.abc import Mapping
from typing import Any

from experiments.fusing.reasons import NotFusable
from experiments.study.mechanisms import Options, is_callback, list_callbacks, read_callback

CLASS_PATHS = (
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
)


class Patience:
    """Whether one trial stops; asked once after each epoch that logged the monitored metric.

    Arguments:
        arguments: of lightning.pytorch.callbacks.EarlyStopping, with its defaults filled in.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._sign = 1.0 if arguments["mode"] == "min" else -1.0
        self._best = math.inf
        self._waited = 0

    def stops(self, metrics: Mapping[str, float]) -> bool:
        """Take in an epoch's metrics.

        Raises:
            NotFusable: when the monitored metric is not there, which is the callback's own error to raise.
        """
        monitor, given = self._arguments["monitor"], self._arguments
        if monitor not in metrics:
            if given["strict"]:
                raise NotFusable(f"EarlyStopping monitors {monitor!r}, which is not logged")
            return False
        value = metrics[monitor]
        if given["check_finite"] and not math.isfinite(value):
            return True
        signed = self._sign * value
        for threshold, is_passed in (("stopping_threshold", signed.__lt__), ("divergence_threshold", signed.__gt__)):
            if given[threshold] is not None and is_passed(self._sign * given[threshold]):
                return True
        if signed < self._best - given["min_delta"]:
            self._best, self._waited = signed, 0
            return False
        self._waited += 1
        return self._waited >= int(given["patience"])


def patience_of(callbacks: Any) -> Mapping[str, Any] | None:
    """The arguments of the one EarlyStopping among a trainer's callbacks; None where there is none.

    Raises:
        NotFusable: for any other callback, but for the one that measures mechanisms.
    """
    specs = [spec for spec in list_callbacks(callbacks) if not is_callback(spec)]
    others = [spec["class_path"].rpartition(".")[2] for spec in specs if spec.get("class_path") not in CLASS_PATHS]
    if others:
        raise NotFusable(f"the callback {others[0]} asks for a Trainer of its own")
    if len(specs) > 1:
        raise NotFusable("it has several EarlyStopping callbacks")
    arguments = specs[0]["init_args"] if specs else None
    if arguments is not None and arguments.get("check_on_train_epoch_end") is False:
        raise NotFusable("EarlyStopping with check_on_train_epoch_end=False looks in the middle of an epoch")
    return arguments


def mechanisms_of(callbacks: Any) -> Options | None:
    """What the callback that measures mechanisms is asked for; None where a trainer's callbacks have none.

    Raises:
        NotFusable: when there are several.
    """
    specs = [spec for spec in list_callbacks(callbacks) if is_callback(spec)]
    if len(specs) > 1:
        raise NotFusable("it has several callbacks that measure mechanisms")
    return read_callback(specs[0]) if specs else None

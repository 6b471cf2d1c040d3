"""What a trial is as a run of Weights & Biases: plain data out of the ledger, the same live and long after.

Config: `trial` (its id), `study`, `seed`, `factors` (the level of each factor, so that W&B can group by
`factors.activation` and average over seeds), and `model`, `data` and `trainer`, the whole configuration. History: one
row an epoch, with `epoch` from 0 and the epoch's metrics. Summary: the final metrics as the ledger has them, none where
a trial diverged or failed, and what is known of the trial under `trial/`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.trials.trial import TrialStatus

from .destination import LONGEST_NAME, Place

TRAIN, AGGREGATE = "train", "aggregate"  # job types
_OF_TRIAL = ("status", "seconds", "backend", "device", "num_parameters", "diverged_epoch", "why_alone", "error")
_ODD = re.compile(r"[^\w\- ]")  # W&B separates the parts of a nested key by dots


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """A run, whole: what W&B is to hold of it.

    attempt: which attempt at its trial it is, from 1.
    rows: the history, a row an epoch, in order.
    exit_code: 0, or 1 for a trial that failed.
    """

    run_id: str
    name: str
    job_type: str
    config: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...] = ()
    summary: Mapping[str, Any]
    exit_code: int = 0
    attempt: int = 1


@dataclass(slots=True, kw_only=True)
class WrittenRun:
    """A run as W&B holds it.

    config, rows, summary: without W&B's own keys.
    exit_code: None for a run that was never ended.
    unreadable: why it, or the rest of it, cannot be read; None where it can.
    """

    run_id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    unreadable: str | None = None

    @property
    def trial_id(self) -> str:
        """The trial that it is of, by its configuration, else by its id; something else for a run of no trial."""
        return str(self.config.get("trial") or self.run_id.partition("-")[0]).strip("'")


def run_of(trial: Mapping[str, Any], study_name: str, place: Place) -> RunContent:
    """The run of one trial.

    Arguments:
        trial: what `Ledger.trial` gives.
        study_name: of the ledger.
        place: where the run goes, which gives it its id, with the number of the trial's attempts.
    """
    keys = factor_keys(trial["levels"])
    levels = {keys[factor]: level for factor, level in trial["levels"].items()}
    return RunContent(
        run_id=place.run_id(trial["trial_id"], len(trial["history"])),
        name=_name(trial),
        job_type=TRAIN,
        config={
            "trial": trial["trial_id"],
            "study": study_name,
            "seed": trial["seed"],
            "factors": levels,
            **trial["config"],
        },
        rows=tuple(row_of(epoch, metrics) for epoch, metrics in enumerate(trial["epochs"])),
        summary={
            **{f"trial/{key}": trial[key] for key in _OF_TRIAL if trial[key] is not None},
            "trial/attempts": len(trial["history"]),
            **{metric_key(name): value for name, value in trial["metrics"].items() if not math.isnan(value)},
        },
        exit_code=1 if trial["status"] == TrialStatus.FAILED else 0,
        attempt=len(trial["history"]),
    )


def row_of(epoch: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """What an epoch, from 0, is in the history.

    >>> row_of(2, {"val/acc": 0.5, "epoch": 7.0})
    {'epoch': 2, 'val/acc': 0.5, 'epoch (metric)': 7.0}
    """
    return {"epoch": epoch, **{metric_key(name): value for name, value in metrics.items()}}


def metric_key(name: str) -> str:
    """The key of a metric: its name, unless W&B (what begins with _) or this suite has that key itself.

    >>> [metric_key(name) for name in ("val/acc", "_step", "epoch", "trial/status")]
    ['val/acc', '_step (metric)', 'epoch (metric)', 'trial/status (metric)']
    """
    return f"{name} (metric)" if name == "epoch" or name.startswith(("_", "trial/")) else name


def factor_keys(factors: Iterable[str]) -> dict[str, str]:
    """The key of each factor under `factors`: its name, without dots and other signs that W&B reads as its own.

    >>> factor_keys(["weight decay", "a.b", "a_b"])
    {'weight decay': 'weight decay', 'a.b': 'a_b', 'a_b': 'a_b_2'}
    """
    keys: dict[str, str] = {}
    for factor in factors:
        plain = _ODD.sub("_", factor)
        key, number = plain, 1
        while key in keys.values():
            number += 1
            key = f"{plain}_{number}"
        keys[factor] = key
    return keys


def _name(trial: Mapping[str, Any]) -> str:
    """What a reader calls the run: its levels and its seed, cut where W&B would cut it, but with the seed."""
    seed = f"seed={trial['seed']}"
    levels = ", ".join(f"{factor}={level}" for factor, level in trial["levels"].items())
    room = LONGEST_NAME - len(seed) - len(", ")
    return f"{levels if len(levels) <= room else levels[: room - 1] + '…'}, {seed}"

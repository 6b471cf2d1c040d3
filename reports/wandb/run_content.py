"""Content of a trial's run in Weights & Biases, as plain data from the ledger.

The content is the same whether the run is written during training or later. Config: `trial` (its id), `study`, `seed`,
`factors` (the level of each factor, so that W&B can group by `factors.activation` and average over seeds), and `model`,
`data` and `trainer`, the complete configuration. History: one row per epoch, with `epoch` from 0 and the epoch's
metrics. Summary: the final metrics in the ledger, none for a trial that diverged or failed, and the trial's properties
under `trial/`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.trials.trial import TrialStatus

from .destination import LONGEST_NAME, Destination

TRAIN, AGGREGATE = "train", "aggregate"  # job types
_OF_TRIAL = ("status", "seconds", "backend", "device", "num_parameters", "diverged_epoch", "why_alone", "error")
_REPLACED = re.compile(r"[^\w\- ]")  # W&B separates the parts of a nested key by dots


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """Content that W&B should hold of one run.

    rows: history, one row per epoch, in order.
    exit_code: 0, or 1 for a trial that failed.
    attempt: number of the attempt at the trial, from 1.
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
    """Run as W&B holds it.

    config, rows, summary: without the keys that W&B adds.
    exit_code: None for a run that was not finished.
    read_error: reason why the run cannot be read; None if it can.
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
    read_error: str | None = None

    @property
    def trial_id(self) -> str:
        """Return the id of its trial, from its config or else its run id; any other text for a run without a trial."""
        return str(self.config.get("trial") or self.run_id.partition("-")[0]).strip("'")


def make_run_content(trial: Mapping[str, Any], study_name: str, destination: Destination) -> RunContent:
    """Return the content of a trial's run.

    Args:
        trial: trial as `Ledger.trial` returns it.
        study_name: name of the study in the ledger.
        destination: destination of the run; its group is part of the run's id.
    """
    keys = get_factor_keys(trial["levels"])
    levels = {keys[factor]: level for factor, level in trial["levels"].items()}
    return RunContent(
        run_id=destination.run_id(trial["trial_id"], len(trial["history"])),
        name=_make_name(trial),
        job_type=TRAIN,
        config={
            "trial": trial["trial_id"],
            "study": study_name,
            "seed": trial["seed"],
            "factors": levels,
            **trial["config"],
        },
        rows=tuple(make_row(epoch, metrics) for epoch, metrics in enumerate(trial["epochs"])),
        summary={
            **{f"trial/{key}": trial[key] for key in _OF_TRIAL if trial[key] is not None},
            "trial/attempts": len(trial["history"]),
            **{get_metric_key(name): value for name, value in trial["metrics"].items() if not math.isnan(value)},
        },
        exit_code=1 if trial["status"] == TrialStatus.FAILED else 0,
        attempt=len(trial["history"]),
    )


def make_row(epoch: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the row of an epoch, counted from 0, in the history.

    >>> make_row(2, {"val/acc": 0.5, "epoch": 7.0})
    {'epoch': 2, 'val/acc': 0.5, 'epoch (metric)': 7.0}
    """
    return {"epoch": epoch, **{get_metric_key(name): value for name, value in metrics.items()}}


def get_metric_key(name: str) -> str:
    """Return the key of a metric: its name, unless W&B (names that begin with _) or this suite uses that key.

    >>> [get_metric_key(name) for name in ("val/acc", "_step", "epoch", "trial/status")]
    ['val/acc', '_step (metric)', 'epoch (metric)', 'trial/status (metric)']
    """
    return f"{name} (metric)" if name == "epoch" or name.startswith(("_", "trial/")) else name


def get_factor_keys(factors: Iterable[str]) -> dict[str, str]:
    """Return the key of each factor under `factors`: its name without dots and other signs that W&B interprets.

    >>> get_factor_keys(["weight decay", "a.b", "a_b"])
    {'weight decay': 'weight decay', 'a.b': 'a_b', 'a_b': 'a_b_2'}
    """
    keys: dict[str, str] = {}
    for factor in factors:
        plain = _REPLACED.sub("_", factor)
        key, number = plain, 1
        while key in keys.values():
            number += 1
            key = f"{plain}_{number}"
        keys[factor] = key
    return keys


def _make_name(trial: Mapping[str, Any]) -> str:
    """Return the run's display name: levels and seed. Levels are cut at W&B's limit, the seed is not."""
    seed = f"seed={trial['seed']}"
    levels = ", ".join(f"{factor}={level}" for factor, level in trial["levels"].items())
    room = LONGEST_NAME - len(seed) - len(", ")
    return f"{levels if len(levels) <= room else levels[: room - 1] + '…'}, {seed}"

"""What is trained and what comes back: Trial, Result and the events in between. Plain data that crosses processes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from experiments.study.mechanisms import is_mechanism

from .identity import compute_config_id, compute_trial_id


class TrialStatus(StrEnum):
    """State of a trial, from planned to trained. The members are the texts that ledgers and reports hold."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def is_finished(self) -> bool:
        """Return whether the trial needs no more training, however it ended: FINISHED, DIVERGED or FAILED."""
        return self not in {TrialStatus.PENDING, TrialStatus.RUNNING}


def count_finished(counts: Mapping[TrialStatus, int]) -> int:
    """Return how many trials need no more training, given the number of trials of each status.

    >>> count_finished({TrialStatus.PENDING: 3, TrialStatus.FINISHED: 2, TrialStatus.FAILED: 1})
    3
    """
    return sum(count for status, count in counts.items() if status.is_finished)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A cell with one seed: trained once. `config` is a resolved LightningCLI configuration without the seed.

    config_id: identity of `config`, which the trials of a cell share.
    """

    trial_id: str
    config_id: str
    levels: Mapping[str, str]
    seed: int
    config: Mapping[str, Any]

    def __str__(self) -> str:
        return ", ".join([*(f"{factor}={level}" for factor, level in self.levels.items()), f"seed={self.seed}"])


def create_trials(config: Mapping[str, Any], levels: Mapping[str, str], seeds: Iterable[int]) -> list[Trial]:
    """Return the trials of one cell, a trial for each seed, and compute their identities."""
    identity = compute_config_id(config)
    return [
        Trial(trial_id=compute_trial_id(identity, seed), config_id=identity, levels=levels, seed=seed, config=config)
        for seed in seeds
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a study comes to: its trials, cell by cell with the seeds within, and what is to be known of its data.

    notes: sentences of the data modules' own, each with the level or cell it belongs to where not all share it.
    fingerprints: what the data came from, such as a file, and a hash of its content.
    """

    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correct:
    """Which examples of the test set a trial classified right.

    num_examples: N.
    bits: one an example, in the order of the test loader, as `numpy.packbits` writes them: ceil(N / 8) bytes.
    targets: a digest of the examples' targets in that order; None where the test step did not return them.
    examples: a digest of the examples in that order, as the network was given them; None where they are no tensors.
        Equal digests mean the same test set in the same order, whatever the batch size.

    >>> Correct(num_examples=3, bits=bytes([0b10100000])).num_right
    2
    """

    num_examples: int
    bits: bytes
    targets: str | None = None
    examples: str | None = None

    @property
    def num_right(self) -> int:
        """How many were right; the bits beyond the last example are 0."""
        return int.from_bytes(self.bits, "big").bit_count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a trial measured.

    status: finished, diverged (a loss was not finite: an outcome) or failed (an error: data, but never done).
    metrics: the final value of every logged metric; empty unless finished.
    epochs: for each epoch from 0 on, the metrics logged in it.
    seconds: wall time of this trial alone, start-up of the worker not counted.
    diverged_epoch: the first epoch with a loss that was not finite.
    error: the traceback of a failed trial.
    backend: lightning (the Lightning Trainer, alone) or fused (together with others).
    correct: of each test example, whether it was classified right; None where the test step does not say, or there was
        no test, and unless finished. What a test step is to return stands in correct_examples.py.
    """

    status: TrialStatus
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0
    backend: str = "lightning"
    device: str = ""
    num_parameters: int | None = None
    diverged_epoch: int | None = None
    error: str | None = None
    correct: Correct | None = None


def is_bad_loss(name: str, value: float) -> bool:
    """Whether a logged value is a loss, by its name, and not finite.

    What is measured of the inside of a network is no loss, whatever its layers are called.

    >>> is_bad_loss("val/loss", float("nan")), is_bad_loss("train_loss", 1.0), is_bad_loss("loss_best", float("inf"))
    (True, False, False)
    >>> is_bad_loss("gap/loss", float("nan"))
    False
    """
    if math.isfinite(value) or is_mechanism(name):  # in this order: most are finite, which takes no time to see
        return False
    last = name.rpartition("/")[2].removesuffix("_epoch").removesuffix("_step")
    return last == "loss" or last.endswith("_loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded:
    """A sign of life from a trial in training: epoch `epoch` (from 0) is over and logged `metrics`."""

    trial_id: str
    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Trials that are trained together (`is_fused`), or one that is trained alone.

    reason_not_fusable: why a trial is not fused though that was asked for.
    """

    trials: tuple[Trial, ...]
    is_fused: bool = False
    reason_not_fusable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFused:
    """What comes back instead of results when a group cannot be trained together after all: it is trained alone."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLost:
    """What comes back instead of results when one of the processes that a trial needed is gone: as if all were."""

    reason: str

"""Trials, their results, and the events in between, as plain data that crosses processes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from experiments.study.mechanisms import is_mechanism

from .identity import compute_config_id, compute_trial_id


class TrialStatus(StrEnum):
    """Status of a trial. The members are strings, as ledgers and reports store them."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def has_ended(self) -> bool:
        """Return whether the trial has ended: FINISHED, DIVERGED or FAILED."""
        return self not in {TrialStatus.PENDING, TrialStatus.RUNNING}


def count_ended(counts: Mapping[TrialStatus, int]) -> int:
    """Count the trials that have ended (finished, diverged or failed), given the number of trials of each status.

    >>> count_ended({TrialStatus.PENDING: 3, TrialStatus.FINISHED: 2, TrialStatus.FAILED: 1})
    3
    """
    return sum(count for status, count in counts.items() if status.has_ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One cell with one seed, trained once.

    config_id: identity of `config`; the trials of a cell share it.
    levels: the cell, as factor -> level.
    config: resolved LightningCLI configuration without the seed.
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
    """Trials of a study, cell by cell and then by seed, with facts about its data.

    notes: sentences from the data modules, each after the level or cell that it belongs to unless all share it.
    fingerprints: source of data, such as a file -> hash of its content.
    """

    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correct:
    """Test examples that a trial classified correctly, a bit for each.

    num_examples: N.
    bits: in the order of the test loader, as `numpy.packbits` writes them: ceil(N / 8) bytes.
    targets: digest of the targets in that order; None where the test step did not return them.
    examples: digest of the network's inputs in that order; None where they are no tensors. Equal digests mean the same
        test set in the same order, whatever the batch size.

    >>> Correct(num_examples=3, bits=bytes([0b10100000])).num_right
    2
    """

    num_examples: int
    bits: bytes
    targets: str | None = None
    examples: str | None = None

    @property
    def num_right(self) -> int:
        """Return the number of correct examples; the bits after the last example are 0."""
        return int.from_bytes(self.bits, "big").bit_count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Result of one trial.

    status: FINISHED; DIVERGED, when a loss was not finite; or FAILED, when an error was raised.
    metrics: final value of every logged metric; empty unless FINISHED.
    epochs: metrics logged in each epoch, from 0 on.
    seconds: wall time of this trial, without the start of the worker; its share of the time of a fused group.
    backend: lightning (the Lightning Trainer) or fused (in one loop with other trials).
    diverged_epoch: first epoch with a loss that was not finite.
    error: traceback of a FAILED trial.
    correct: correct test examples; None unless FINISHED, or where the test step does not report them.
        correct_examples.py says what a test step returns.
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
    """Return whether a logged value is a loss, judged by its name, and not finite.

    A mechanism metric is no loss, whatever its layer is called.

    >>> is_bad_loss("val/loss", float("nan")), is_bad_loss("train_loss", 1.0), is_bad_loss("loss_best", float("inf"))
    (True, False, False)
    >>> is_bad_loss("gap/loss", float("nan"))
    False
    """
    if math.isfinite(value) or is_mechanism(name):  # the fast check first: most are finite
        return False
    last = name.rpartition("/")[2].removesuffix("_epoch").removesuffix("_step")
    return last == "loss" or last.endswith("_loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded:
    """Event of a trial in training: epoch `epoch` (from 0) has ended and logged `metrics`."""

    trial_id: str
    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Trials that are trained fused (`is_fused`), or one that is trained unfused.

    reason_not_fusable: why a trial is not fused though that was asked for.
    """

    trials: tuple[Trial, ...]
    is_fused: bool = False
    reason_not_fusable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFused:
    """Answer of a worker that could not fuse a group. Its trials are then trained unfused."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLost:
    """Answer of a worker when one of the processes that a trial needs has died; it counts as a lost worker."""

    reason: str

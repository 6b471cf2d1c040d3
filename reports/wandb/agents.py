"""Runs that an agent of a W&B sweep has named: their ids are remembered for the trials that they are of."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiments.folder import writing

from .place import Place, place_of, remember

WAIT_SECONDS = 60.0  # for others, who hold the folder's lock for less than a second each


def agents_run_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """The id that W&B has given the run of this process; None where no agent of a sweep started it.

    In such a process W&B ignores every other id.

    >>> agents_run_id({"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "abc"}), agents_run_id({"WANDB_RUN_ID": "abc"})
    ('abc', None)
    """
    return environment.get("WANDB_RUN_ID") or None if environment.get("WANDB_SWEEP_ID") else None


def remember_run_id(
    directory: Path, place: Place, trial_id: str, run_id: str, wait_seconds: float = WAIT_SECONDS
) -> Place:
    """The place with the run of this trial, as DIR/wandb.json holds it now. Many processes may do so at once.

    Two that train one trial each have a run of their own, and the one whose result counts should call last.

    Arguments:
        directory: the study's folder, whose lock this takes; do not hold it.
        place: where the runs go.
        trial_id: the trial.
        run_id: what W&B calls its run.
        wait_seconds: how long to wait for the lock.

    Raises:
        DirectoryError: when the folder cannot be written, or stays in use by others.
    """
    with writing(directory, wait_seconds):
        ids = place_of(directory, place.group, mode=place.mode).run_ids  # others have added theirs since
        place = replace(place, run_ids={**place.run_ids, **ids, trial_id: run_id})
        remember(directory, place)
    return place

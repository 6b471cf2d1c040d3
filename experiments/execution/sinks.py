"""Observers of a run: a progress bar, a live copy in W&B."""

from collections.abc import Mapping, Sequence

from experiments.trials.trial import EpochEnded, Group, Result, Trial, TrialStatus


class Sink:
    """Observer of a run, in the command's process. Its methods do nothing; subclasses override some of them."""

    def on_data_notes(self, notes: Sequence[str]) -> None:
        """Receive the data modules' notes on their data, perhaps none. The first event, before any file is written."""

    def on_waiting(self, message: str) -> None:
        """Receive a line that says which other command holds the study's folder; again whenever that changes."""

    def on_planned(self, counts: Mapping[TrialStatus, int], groups: Sequence[Group], num_slots: int) -> None:
        """Receive the trials by status before anything is trained.

        Args:
            counts: number of trials of each status.
            groups: those to train now.
            num_slots: how many workers train them.
        """

    def on_started(self, trial: Trial) -> None:
        """Receive a trial that starts, perhaps after it was unfused or requeued."""

    def on_epoch_ended(self, trial: Trial, event: EpochEnded) -> None:
        """Receive the metrics of an epoch."""

    def on_unfused(self, trial: Trial, reason: str) -> None:
        """Receive a trial of a fused group that is split up; it starts again later, unfused."""

    def on_requeued(self, trial: Trial, reason: str) -> None:
        """Receive a trial that failed or lost its worker; its group starts again later."""

    def on_ended(self, trial: Trial, result: Result) -> None:
        """Receive a trial whose result is on disk."""

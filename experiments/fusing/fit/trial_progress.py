"""Progress of one trial in a fused group: its metrics so far, and its end."""

from dataclasses import dataclass, field

from experiments.training.epoch_metrics import Metrics
from experiments.trials.trial import Correct, EpochEnded, Result, Trial, TrialStatus, is_bad_loss

from .allowed_callbacks import EarlyStop

BACKEND = "fused"


@dataclass(slots=True, kw_only=True)
class TrialProgress:
    """State of one trial.

    early_stop: its EarlyStopping, if it has one.
    epochs: metrics for loggers, by epoch.
    last_values: last values of the metrics that only callbacks see.
    test_metrics, correct: of the test.
    """

    trial: Trial
    early_stop: EarlyStop | None
    epochs: list[Metrics] = field(default_factory=list)
    last_values: Metrics = field(default_factory=dict)
    test_metrics: Metrics = field(default_factory=dict)
    correct: Correct | None = None
    diverged_epoch: int | None = None
    has_ended: bool = False

    def end_epoch(self, metrics: Metrics, last_values: Metrics, *, is_finite: bool, is_last: bool) -> EpochEnded:
        """Record an epoch.

        Args:
            metrics: for loggers.
            last_values: for callbacks alone.
            is_finite: whether all training losses of the epoch are finite.
            is_last: whether it is the last of max_epochs.
        """
        epoch = len(self.epochs)
        self.epochs.append(metrics)
        self.last_values |= last_values
        if not is_finite or any(is_bad_loss(name, value) for name, value in metrics.items()):
            self.diverged_epoch = epoch
        stops = self.early_stop is not None and self.early_stop.should_stop(metrics | last_values)
        self.has_ended = stops or is_last or self.diverged_epoch is not None
        return EpochEnded(trial_id=self.trial.trial_id, epoch=epoch, metrics=metrics)

    def end_test(self, metrics: Metrics, correct: Correct | None) -> None:
        """Record the test."""
        self.test_metrics, self.correct = metrics, correct

    def make_result(self, *, seconds: float, device: str, num_parameters: int) -> Result:
        """Return the result of a trial that has ended."""
        final = dict(self.last_values)
        for metrics in [*self.epochs, self.test_metrics]:
            final.update(metrics)
        diverged = self.diverged_epoch
        if diverged is None and any(is_bad_loss(name, value) for name, value in final.items()):
            diverged = len(self.epochs) - 1
        return Result(
            status=TrialStatus.FINISHED if diverged is None else TrialStatus.DIVERGED,
            metrics=final if diverged is None else {},
            epochs=tuple(self.epochs),
            seconds=seconds,
            backend=BACKEND,
            device=device,
            num_parameters=num_parameters,
            diverged_epoch=diverged,
            correct=self.correct if diverged is None else None,
        )

"""Progress of a run: a live bar in a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from experiments.study.mechanisms import is_mechanism
from experiments.study.study import Claim
from experiments.text import describe_choices, escape_controls, format_duration
from experiments.trials.trial import EpochEnded, Group, Result, Trial, TrialStatus

from .sinks import Sink

SECONDS_BETWEEN_LINES = 5.0


class ProgressSink(Sink):
    """Counter of trials, with an estimate of the time left from the epochs trained since this command began.

    Use it in a `with` block. It warns once, and as soon as a trial has finished, when the study's metric or that of a
    claim is not logged: stopping still saves time then.

    failures: the failed trials of this command and their errors.

    Args:
        console: where to print.
        metric: name of the study's metric.
        activity: what happens until the plan is made.
        claims: the study's claims, some of which may have their own metrics.
    """

    def __init__(
        self, console: Console, metric: str | None = None, activity: str | None = None, claims: Sequence[Claim] = ()
    ) -> None:
        self.failures: list[tuple[Trial, str]] = []
        self._metric = metric
        self._claims = [claim for claim in claims if claim.metric is not None]
        self._activity = activity or "importing torch and the study's classes"
        self._console = console
        self._is_live = console.is_terminal
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[counts]}"),
            console=console,
            transient=True,
            disable=not self._is_live,
        )
        self._task: TaskID | None = None
        self._counts = dict.fromkeys(("total", "done", TrialStatus.DIVERGED, TrialStatus.FAILED, "running"), 0)
        self._work_total = 0.0  # in trials; an epoch is a fraction of one
        self._work_before = 0.0
        self._parts: dict[str, float] = {}
        self._printed_reasons: set[str] = set()
        self._group_of: dict[str, list[str]] = {}  # ids of the trials of the same group, which are at the same epoch
        self._started_at = time.monotonic()
        self._last_line_at = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        if self._is_live:
            self._task = self._bar.add_task(self._activity, total=None, counts="")
        else:
            self._console.print(f"{self._activity} ...")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def on_data_notes(self, notes: Sequence[str]) -> None:
        """See Sink."""
        for note in notes:
            self._print(f"note on the data: {escape_controls(note)}")

    def on_waiting(self, message: str) -> None:
        """See Sink."""
        self._print(message)

    def on_planned(self, counts: Mapping[TrialStatus, int], groups: Sequence[Group], num_slots: int) -> None:
        """See Sink."""
        trials = [trial for group in groups for trial in group.trials]
        total = sum(counts.values())
        self._counts.update(
            total=total,
            done=total - len(trials),
            diverged=counts[TrialStatus.DIVERGED],
            failed=counts[TrialStatus.FAILED],
            running=0,
        )
        self._work_total, self._work_before = float(total), float(total - len(trials))
        self._started_at = time.monotonic()
        for group in groups:
            self._group_of |= dict.fromkeys((ids := [trial.trial_id for trial in group.trials]), ids)
        workers = "1 worker" if num_slots == 1 else f"{num_slots} workers"
        before = f", {total - len(trials)} of them done before" if len(trials) < total else ""
        sizes = [len(group.trials) for group in groups if group.is_fused]
        fused = f"; {sum(sizes)} fused in {len(sizes)} {'group' if len(sizes) == 1 else 'groups'}" if sizes else ""
        self._console.print(f"{total} trials{before}; {workers}{fused}")
        self._show()

    def on_started(self, trial: Trial) -> None:
        """See Sink."""
        self._counts["running"] += 1
        self._show()

    def on_epoch_ended(self, trial: Trial, event: EpochEnded) -> None:
        """See Sink."""
        max_epochs = trial.config.get("trainer", {}).get("max_epochs")
        if isinstance(max_epochs, int) and max_epochs > 0:
            part = min((event.epoch + 1) / max_epochs, 1.0)
            self._parts |= dict.fromkeys(self._group_of.get(trial.trial_id, [trial.trial_id]), part)
        self._show()

    def on_unfused(self, trial: Trial, reason: str) -> None:
        """See Sink."""
        self._parts.pop(trial.trial_id, None)
        self._group_of.pop(trial.trial_id, None)
        self._print_reason("a group cannot be fused after all, so its trials are trained separately", reason)
        self._counts["running"] -= 1
        self._show()

    def on_requeued(self, trial: Trial, reason: str) -> None:
        """See Sink."""
        for trial_id in self._group_of.get(trial.trial_id, [trial.trial_id]):
            self._parts.pop(trial_id, None)
        self._print_reason("retrying lost or failed trials", reason.strip().splitlines()[-1])
        self._counts["running"] -= 1
        self._show()

    def on_ended(self, trial: Trial, result: Result) -> None:
        """See Sink."""
        self._parts.pop(trial.trial_id, None)
        self._counts["running"] -= 1
        self._counts["done"] += 1
        if result.status != TrialStatus.FINISHED:
            self._counts[result.status] += 1
        if result.status == TrialStatus.FAILED:
            self.failures.append((trial, result.error or ""))
        if result.status == TrialStatus.FINISHED:
            self._warn_of_missing_metrics(trial, result)
        self._show(at_once=self._counts["done"] == self._counts["total"])

    def _warn_of_missing_metrics(self, trial: Trial, result: Result) -> None:
        if self._metric is not None and self._metric not in result.metrics:
            self._warn_of_missing_metric("the study's metric", self._metric, result)
            self._metric = None
        for claim in list(self._claims):
            is_part = trial.levels.get(claim.factor) in {claim.better, claim.than}
            is_part &= all(trial.levels.get(factor) == level for factor, level in claim.where)
            if is_part and claim.metric is not None and claim.metric.name not in result.metrics:
                self._warn_of_missing_metric(f"the metric of claim {claim.name}", claim.metric.name, result)
                self._claims.remove(claim)

    def _warn_of_missing_metric(self, role: str, metric: str, result: Result) -> None:
        known = describe_choices(metric, _select_same_kind(metric, result.metrics), "logged")
        self._print(f"a trial did not log {role} {metric!r}{known}")

    def _print_reason(self, message: str, reason: str) -> None:
        """Print why trials start again, once for each reason."""
        if reason not in self._printed_reasons:
            self._printed_reasons.add(reason)
            self._print(f"{message}: {escape_controls(reason)}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, emoji=False, soft_wrap=True)

    def _show(self, *, at_once: bool = False) -> None:
        counts = self._counts
        work = counts["done"] + sum(self._parts.values())
        if self._task is not None:
            self._bar.update(
                self._task,
                description="training",
                total=self._work_total,
                completed=work,
                counts=self._format_counts(work),
            )
        elif at_once or time.monotonic() - self._last_line_at >= SECONDS_BETWEEN_LINES:
            self._last_line_at = time.monotonic()
            self._console.print(self._format_counts(work))

    def _format_counts(self, work: float) -> str:
        counts = self._counts
        parts = [f"{counts['done']}/{counts['total']} trials done"]
        parts += [
            f"{counts[status]} {status}" for status in (TrialStatus.FAILED, TrialStatus.DIVERGED) if counts[status]
        ]
        if counts["running"]:
            parts.append(f"{counts['running']} running")
        trained = work - self._work_before
        if trained > 0 and work < self._work_total:
            seconds = (time.monotonic() - self._started_at) / trained * (self._work_total - work)
            parts.append(f"about {format_duration(seconds)} left")
        return ", ".join(parts)


def _select_same_kind(metric: str, logged: Iterable[str]) -> list[str]:
    """Return the logged mechanism metrics, of which there may be hundreds, if `metric` is one, else the others."""
    return [name for name in logged if is_mechanism(name) == is_mechanism(metric)]

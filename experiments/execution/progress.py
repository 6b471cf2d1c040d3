"""How a run is going: a live bar in a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from experiments.study.mechanisms import is_mechanism
from experiments.study.study import Claim
from experiments.text import choices, duration, visible
from experiments.trials.trial import EpochEnded, Group, Result, Trial, TrialStatus

from .sinks import Sink

SECONDS_BETWEEN_LINES = 5.0


class ProgressSink(Sink):
    """Counts trials, and estimates the time left from the epochs trained since this command began.

    Use it in a `with` block. `failures` holds the failed trials of this command and their errors. A finished trial that
    lacks `metric`, or the one of a claim that it is part of, is told once and at once, when stopping still saves time.
    `doing` is what is told until the plan is there.
    """

    def __init__(
        self, console: Console, metric: str | None = None, doing: str | None = None, claims: Sequence[Claim] = ()
    ) -> None:
        self.failures: list[tuple[Trial, str]] = []
        self._metric = metric
        self._claims = [claim for claim in claims if claim.metric is not None]
        self._doing = doing or "importing torch and the study's classes"
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
        self._work_total = 0.0  # in trials; an epoch is its share of one
        self._work_before = 0.0
        self._parts: dict[str, float] = {}
        self._told: set[str] = set()  # reasons
        self._together: dict[str, list[str]] = {}  # the other trials that are at the same epoch
        self._started_at = time.monotonic()
        self._last_line_at = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        if self._is_live:
            self._task = self._bar.add_task(self._doing, total=None, counts="")
        else:
            self._console.print(f"{self._doing} ...")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def on_data_notes(self, notes: Sequence[str]) -> None:
        """See Sink."""
        for note in notes:
            self._console.print(f"note on the data: {visible(note)}", markup=False, emoji=False, soft_wrap=True)

    def on_waiting(self, message: str) -> None:
        """See Sink."""
        self._console.print(message, markup=False, soft_wrap=True)

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
            self._together |= dict.fromkeys((ids := [trial.trial_id for trial in group.trials]), ids)
        workers = "1 worker" if num_slots == 1 else f"{num_slots} workers"
        before = f", {total - len(trials)} of them done before" if len(trials) < total else ""
        fused = [len(group.trials) for group in groups if group.is_fused]
        together = (
            f"; {sum(fused)} trained together in {len(fused)} {'group' if len(fused) == 1 else 'groups'}"
            if fused
            else ""
        )
        self._console.print(f"{total} trials{before}; {workers}{together}")
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
            self._parts |= dict.fromkeys(self._together.get(trial.trial_id, [trial.trial_id]), part)
        self._show()

    def on_unfused(self, trial: Trial, reason: str) -> None:
        """See Sink."""
        self._parts.pop(trial.trial_id, None)
        self._together.pop(trial.trial_id, None)
        if reason not in self._told:
            self._told.add(reason)
            self._console.print(f"trials that were to be trained together are trained alone: {reason}", markup=False)
        self._counts["running"] -= 1
        self._show()

    def on_requeued(self, trial: Trial, reason: str) -> None:
        """See Sink."""
        for trial_id in self._together.get(trial.trial_id, [trial.trial_id]):
            self._parts.pop(trial_id, None)
        if (line := reason.strip().splitlines()[-1]) not in self._told:
            self._told.add(line)
            self._console.print(f"trials that came to nothing begin again: {visible(line)}", markup=False, emoji=False)
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
            self._tell_what_lacks(trial, result)
        self._show(at_once=self._counts["done"] == self._counts["total"])

    def _tell_what_lacks(self, trial: Trial, result: Result) -> None:
        if self._metric is not None and self._metric not in result.metrics:
            self._tell_lack("the study's metric", self._metric, result)
            self._metric = None
        for claim in list(self._claims):
            is_part = trial.levels.get(claim.factor) in {claim.better, claim.than}
            is_part &= all(trial.levels.get(factor) == level for factor, level in claim.where)
            if is_part and claim.metric is not None and claim.metric.name not in result.metrics:
                self._tell_lack(f"the metric of claim {claim.name}", claim.metric.name, result)
                self._claims.remove(claim)

    def _tell_lack(self, whose: str, metric: str, result: Result) -> None:
        known = choices(metric, _alike(metric, result.metrics), "logged")
        self._console.print(f"a trial did not log {whose} {metric!r}{known}", markup=False)

    def _show(self, *, at_once: bool = False) -> None:
        counts = self._counts
        work = counts["done"] + sum(self._parts.values())
        if self._task is not None:
            self._bar.update(
                self._task, description="training", total=self._work_total, completed=work, counts=self._text(work)
            )
        elif at_once or time.monotonic() - self._last_line_at >= SECONDS_BETWEEN_LINES:
            self._last_line_at = time.monotonic()
            self._console.print(self._text(work))

    def _text(self, work: float) -> str:
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
            parts.append(f"about {duration(seconds)} left")
        return ", ".join(parts)


def _alike(metric: str, logged: Iterable[str]) -> list[str]:
    """What was logged of the inside of a network, if the metric is of it, else what was not; there may be hundreds."""
    return [name for name in logged if is_mechanism(name) == is_mechanism(metric)]

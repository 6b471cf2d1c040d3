"""Training of a study with a progress bar and perhaps a copy in W&B, followed by its report."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.execution.options import RunOptions
from experiments.execution.run import Outcome, make_runner, use_data_dir
from experiments.execution.sinks import Sink
from experiments.runners import Runner
from experiments.trials.trial import TrialStatus

from .wandb import WandbOptions, make_mirror, print_mirror_summary

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.study.study import Study

_FAILURES_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Settings that the studies of one command share."""

    options: RunOptions
    wandb: WandbOptions
    console: "Console"


def write_and_print_report(directory: Path, console: "Console") -> None:
    """Write the report of a folder, and print it."""
    from reports import print_report, write_report

    print_report(write_report(directory), console)


def train_and_report(
    study: "Study",
    directory: Path,
    train: Callable[[Sequence[Sink]], Outcome],
    session: Session,
    activity: str | None = None,
) -> Outcome:
    """Train a study with a progress bar and perhaps a copy in W&B, and report.

    `activity` is what the progress bar shows until the plan is made.
    """
    from experiments.execution.progress import ProgressSink

    console = session.console
    mirror = make_mirror(session.wandb, study, directory, console)
    with mirror or contextlib.nullcontext():
        with ProgressSink(console, study.metric.name, activity, study.claims) as progress:
            outcome = train([progress] if mirror is None else [progress, mirror])
        if outcome.num_trained == 0:
            console.print("nothing to train: every trial of this plan has ended")
        _print_failures(progress.failures, outcome, console)
        if outcome.counts[TrialStatus.FINISHED]:
            write_and_print_report(directory, console)
            if mirror is not None:
                mirror.send_report()
        elif diverged := outcome.counts[TrialStatus.DIVERGED]:
            console.print(f"no trial has finished, so there is no report: {diverged} diverged")
    if mirror is not None:
        print_mirror_summary(mirror, directory, dict(outcome.counts), console)
    return outcome


@contextlib.contextmanager
def start_runner(options: RunOptions, studies: "Sequence[Study]") -> Iterator[Runner]:
    """Start a runner, and import the modules of the report while its workers import torch.

    The inline runner imports torch in this process, which would gain nothing.
    """
    with use_data_dir(options.data_dir), make_runner(options, studies) as runner:
        if options.runner != "inline":
            with contextlib.suppress(Exception):  # the report raises the error again
                from reports import import_libraries

                import_libraries()
        yield runner


def _print_failures(failures: list[tuple[Any, str]], outcome: Outcome, console: "Console") -> None:
    from rich.markup import escape

    for trial, error in failures[:_FAILURES_SHOWN]:
        last = error.strip().splitlines()[-1] if error.strip() else "no message"
        console.print(f"[red]failed[/red] {trial.trial_id} ({escape(str(trial))}): {escape(last)}", soft_wrap=True)
    if len(failures) > _FAILURES_SHOWN:
        console.print(f"and {len(failures) - _FAILURES_SHOWN} more")
    if failed := outcome.counts[TrialStatus.FAILED]:
        console.print(
            f"{failed} trials failed: `ablate show {outcome.directory} TRIAL` has the traceback, "
            f"`ablate retry {outcome.directory}` makes them pending again",
            soft_wrap=True,
        )

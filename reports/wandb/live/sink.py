"""A study's runs in W&B while it trains: a sink that tells a process beside the command (child.py) what happens.

The command never waits for W&B while trials train, and at its end only as long as runs are still being taken. Whatever
fails there is one warning: the ledger has everything, and `ablate wandb push` makes the runs from it.
"""

import contextlib
import importlib.metadata
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from packaging.version import Version
from rich.console import Console

from experiments.child_process import ChildProcess
from experiments.errors import InputError
from experiments.execution.sinks import Sink
from experiments.ledger.study_folder import lock_folder
from experiments.trials.trial import EpochEnded, Group, Result, Trial, TrialStatus
from reports.wandb.destination import FOLDER, Place, place_of, remember

SMALLEST = "0.28.1"  # earlier releases deadlock after a fork
WAIT_SECONDS = 60.0  # for others who share the folder, and hold its lock for less than a second each
START_SECONDS = 60.0  # for importing wandb on a busy machine
PATIENCE_SECONDS = 100.0  # without a message, longer than anything that W&B is asked for may take
_SILENT_SECONDS = 3.0  # of waiting before it is told
AFTER_PROBLEM_SECONDS = 30.0  # of patience once something went wrong
INTERRUPTED_SECONDS = 15.0  # of patience with somebody who pressed Ctrl-C
_NOT_OURS = (  # variables that name one run: another one's, when this command was started inside it
    "WANDB_JOB_TYPE",
    "WANDB_NAME",
    "WANDB_RESUME",
    "WANDB_RUN_GROUP",
    "WANDB_SERVICE",
)
_OF_AN_AGENT = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")


class WandbSink(Sink):
    """Sends what happens to W&B. Use it in a `with` block; leaving it waits until W&B has everything, within bounds.

    place: where runs go.
    written: the trials whose runs W&B has whole, in the order in which they ended, and "report".
    problem: the first thing that went wrong; None where nothing did.
    url: the project's page; None offline.

    Arguments:
        directory: the study's folder, which need not be there yet.
        place: where runs go.
        console: where the one warning goes; None where the caller tells it.
        is_one_of_many: whether the command trains one trial, beside others that share the folder. Where an agent of a
            sweep started it, its run is the sweep's.

    Raises:
        InputError: on entering, when wandb is absent or too old.
    """

    def __init__(self, directory: Path, place: Place, console: Console | None, *, is_one_of_many: bool = False) -> None:
        self.place = place
        self.written: list[str] = []
        self.problem: str | None = None
        self.url: str | None = None
        self._directory = directory
        self._console = console
        self._is_one_of_many = is_one_of_many
        self._agents_run = agents_run_id() if is_one_of_many else None
        left_out = _NOT_OURS if self._agents_run else (*_NOT_OURS, *_OF_AN_AGENT)
        folder = directory.absolute() / FOLDER  # copies of artifacts until they are uploaded, and W&B's own logs
        own = {"WANDB_DATA_DIR": str(folder), "WANDB_CACHE_DIR": str(folder / "cache")}
        self._environment = own | {name: value for name, value in os.environ.items() if name not in left_out}
        self._refused: str | None = None
        self._is_ready = False

    def __enter__(self) -> Self:
        check_installed()
        self._child = ChildProcess(f"{__package__}.child", self._environment)
        self._child.send("settings", self._directory.absolute(), self.place)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        longest = PATIENCE_SECONDS if kind is None else INTERRUPTED_SECONDS
        self._child.close_input()
        try:
            if not self._has_ended_within(_SILENT_SECONDS) and self._console is not None:
                self._console.print(
                    f"waiting for W&B; Ctrl-C leaves the rest to `ablate wandb push {self._directory}`",
                    markup=False,
                    soft_wrap=True,
                )
            while self._take_message(longest if self.problem is None else AFTER_PROBLEM_SECONDS):
                pass
            if self._child.end(PATIENCE_SECONDS) != 0 and self._is_ready:  # else the command has said so
                self._warn(f"its process ended early{self._last_words()}")
        except TimeoutError:
            self._warn("took nothing more for a long time")
        finally:
            self._child.end()

    def wait_until_ready(self) -> None:
        """Return when W&B can be written to, as far as can be known without asking its server.

        Raises:
            InputError: when there is no API key, or wandb cannot be imported.
        """
        with contextlib.suppress(TimeoutError):
            while not self._is_ready and self._take_message(START_SECONDS):
                pass
        if self._refused:
            raise InputError(self._refused)
        if not self._is_ready:
            raise InputError(f"--wandb: wandb could not be started{self._last_words()}")

    # ---- a sink --------------------------------------------------------------------------------------------------

    def on_data_notes(self, notes: Sequence[str]) -> None:
        """See Sink. It is the first event, so a W&B that cannot be used ends the run before any trial starts."""
        self.wait_until_ready()

    def on_planned(self, counts: Mapping[TrialStatus, int], groups: Sequence[Group], num_slots: int) -> None:
        """See Sink."""
        if not self._is_one_of_many:
            remember(self._directory, self.place)
            return
        (trial,) = groups[0].trials
        self._send("alone", trial.trial_id, self._agents_run)
        try:
            if place_of(self._directory, self.place.group) != self.place:
                with lock_folder(self._directory, wait_seconds=WAIT_SECONDS):
                    remember(self._directory, self.place)
        except InputError as error:
            self._warn(str(error))

    def on_started(self, trial: Trial) -> None:
        """See Sink."""
        self._send("started", trial.trial_id)

    def on_epoch_ended(self, trial: Trial, event: EpochEnded) -> None:
        """See Sink."""
        self._send("epoch", trial.trial_id, event.epoch, dict(event.metrics))

    def on_unfused(self, trial: Trial, reason: str) -> None:
        """See Sink."""
        self._send("separated", trial.trial_id)

    def on_requeued(self, trial: Trial, reason: str) -> None:
        """See Sink."""
        self.on_unfused(trial, reason)

    def on_ended(self, trial: Trial, result: Result) -> None:
        """See Sink."""
        self.send_trial(trial.trial_id)

    # ---- more than a sink ----------------------------------------------------------------------------------------

    def send_trial(self, trial_id: str, *, replaces: Sequence[str] = ()) -> None:
        """Have the run of a trial written whole, from the ledger, and then the runs of these ids removed."""
        self._send("ended", trial_id, list(replaces))

    def remove(self, trial_id: str, run_ids: Sequence[str]) -> None:
        """Have runs of a trial removed that it has beside its own."""
        self._send("remove", trial_id, list(run_ids))

    def send_report(self) -> None:
        """Have the study's tables and report, which are on disk, written to a run of their own."""
        self._send("report")

    def _send(self, *message: Any) -> None:
        """Send a message, and take those that have come meanwhile."""
        self._child.send(*message)
        self._has_ended_within(0.0)

    def _has_ended_within(self, seconds: float) -> bool:
        """Take messages for so long; whether the process has ended."""
        until = time.monotonic() + seconds
        try:
            while self._take_message(max(0.0, until - time.monotonic())):
                pass
        except TimeoutError:
            return False
        return True

    def _take_message(self, seconds: float) -> bool:
        """Take the process's next message; False when it has ended.

        Raises:
            TimeoutError: when none came within so many seconds.
        """
        match self._child.receive(seconds):
            case None:
                return False
            case ("ready",):
                self._is_ready = True
            case ("refused", reason):
                self._refused = reason
            case ("url", url):
                self.url = url
            case ("written", key):
                self.written.append(key)
            case ("problem", problem):
                self._warn(problem)
        return True

    def _last_words(self) -> str:
        line = self._child.last_log_line()
        return f" ({line})" if line else ""

    def _warn(self, problem: str) -> None:
        """Tell the first problem; what else fails then fails for the same reason, or shows in `ablate wandb verify`."""
        if self.problem is None:
            self.problem = problem
            if self._console is not None:
                self._console.print(
                    f"W&B: {problem}; the study goes on without it, and `ablate wandb push {self._directory}` makes "
                    "the runs afterwards",
                    markup=False,
                    emoji=False,
                    soft_wrap=True,
                )


def agents_run_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """The id that W&B has given the run of this process; None where no agent of a sweep started it.

    In such a process W&B ignores every other id.

    >>> agents_run_id({"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "abc"}), agents_run_id({"WANDB_RUN_ID": "abc"})
    ('abc', None)
    """
    return environment.get("WANDB_RUN_ID") or None if environment.get("WANDB_SWEEP_ID") else None


def check_installed() -> None:
    """Make sure that a usable wandb is installed, without importing it.

    Raises:
        InputError: when it is absent or too old; the message says which version is needed.
    """
    how = f'version {SMALLEST} or newer is needed: `pip install "wandb>={SMALLEST}"`'
    try:
        found = importlib.metadata.version("wandb")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"Weights & Biases needs the package wandb, which is not installed; {how}") from None
    if Version(found) < Version(SMALLEST):
        raise InputError(f"wandb {found} is too old; {how}")

"""Sink that sends a study's events to a child process (child.py), which writes them to W&B during training.

The command never waits for W&B while trials train, and at its end only while the child makes progress. A failure of W&B
prints one warning: the ledger is complete, and `ablate wandb push` writes the runs from it.
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
from reports.wandb.destination import FOLDER, Destination, resolve_destination, save_destination

LOWEST_VERSION = "0.28.1"  # earlier releases deadlock after a fork
LOCK_SECONDS = 60.0  # wait for other commands in the folder, each of which holds its lock for less than a second
START_SECONDS = 60.0  # limit for importing wandb on a busy machine
# Limits of the time without a message, after which the child counts as hung.
PATIENCE_SECONDS = 100.0  # longer than any request to W&B may take
AFTER_PROBLEM_SECONDS = 30.0  # after W&B has failed once
INTERRUPTED_SECONDS = 15.0  # after Ctrl-C
_QUIET_SECONDS = 3.0  # of waiting at the end before a line says so
_RUN_VARIABLES = (  # of one run; set where the command was started inside another run
    "WANDB_JOB_TYPE",
    "WANDB_NAME",
    "WANDB_RESUME",
    "WANDB_RUN_GROUP",
    "WANDB_SERVICE",
)
_AGENT_VARIABLES = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")


class WandbSink(Sink):
    """Sink that sends events to W&B, used in a `with` block. Leaving the block waits for W&B, with a time limit.

    destination: destination of the runs.
    written: trials whose runs are complete in W&B, in the order in which they ended, and "report".
    problem: first failure of W&B; None without one.
    url: page of the project; None offline.

    Args:
        directory: study folder, which may not exist yet.
        destination: destination of the runs.
        console: console for the warning; None if the caller reports `problem`.
        is_one_of_many: whether the command trains one trial in a folder that it shares with other commands. If the
            agent of a sweep started it, its run is the agent's.

    Raises:
        InputError: on entering, if wandb is not installed or too old.
    """

    def __init__(
        self, directory: Path, destination: Destination, console: Console | None, *, is_one_of_many: bool = False
    ) -> None:
        self.destination = destination
        self.written: list[str] = []
        self.problem: str | None = None
        self.url: str | None = None
        self._directory = directory
        self._console = console
        self._is_one_of_many = is_one_of_many
        self._agent_run_id = find_agent_run_id() if is_one_of_many else None
        removed = _RUN_VARIABLES if self._agent_run_id else (*_RUN_VARIABLES, *_AGENT_VARIABLES)
        folder = directory.absolute() / FOLDER  # for copies of artifacts until they are uploaded, and W&B's logs
        folders = {"WANDB_DATA_DIR": str(folder), "WANDB_CACHE_DIR": str(folder / "cache")}
        self._environment = folders | {name: value for name, value in os.environ.items() if name not in removed}
        self._refused: str | None = None
        self._is_ready = False

    def __enter__(self) -> Self:
        check_installed()
        self._child = ChildProcess(f"{__package__}.child", self._environment)
        self._child.send("settings", self._directory.absolute(), self.destination)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        longest = PATIENCE_SECONDS if kind is None else INTERRUPTED_SECONDS
        self._child.close_input()
        try:
            if not self._handle_messages(_QUIET_SECONDS) and self._console is not None:
                self._console.print(
                    f"waiting for W&B; after Ctrl-C, `ablate wandb push {self._directory}` writes the rest",
                    markup=False,
                    soft_wrap=True,
                )
            while self._handle_message(longest if self.problem is None else AFTER_PROBLEM_SECONDS):
                pass
            if self._child.end(PATIENCE_SECONDS) != 0 and self._is_ready:  # else `wait_until_ready` has raised
                self._warn(f"its client ended early{self._last_log_line()}")
        except TimeoutError:
            self._warn("made no progress for a long time")
        finally:
            self._child.end()

    def wait_until_ready(self) -> None:
        """Wait until W&B's client has started. The server is not asked yet.

        Raises:
            InputError: if there is no API key, or wandb cannot be imported.
        """
        with contextlib.suppress(TimeoutError):
            while not self._is_ready and self._handle_message(START_SECONDS):
                pass
        if self._refused:
            raise InputError(self._refused)
        if not self._is_ready:
            raise InputError(f"--wandb: wandb could not be started{self._last_log_line()}")

    # ---- events -----------------------------------------------------------------------------------------------------

    def on_data_notes(self, notes: Sequence[str]) -> None:
        """See Sink. It is the first event, so a W&B that cannot be used ends the run before any trial starts."""
        self.wait_until_ready()

    def on_planned(self, counts: Mapping[TrialStatus, int], groups: Sequence[Group], num_slots: int) -> None:
        """See Sink."""
        if not self._is_one_of_many:
            save_destination(self._directory, self.destination)
            return
        (trial,) = groups[0].trials
        self._send("one trial", trial.trial_id, self._agent_run_id)
        try:
            if resolve_destination(self._directory, self.destination.group) != self.destination:
                with lock_folder(self._directory, wait_seconds=LOCK_SECONDS):
                    save_destination(self._directory, self.destination)
        except InputError as error:
            self._warn(str(error))

    def on_started(self, trial: Trial) -> None:
        """See Sink."""
        self._send("start_run", trial.trial_id)

    def on_epoch_ended(self, trial: Trial, event: EpochEnded) -> None:
        """See Sink."""
        self._send("log_epoch", trial.trial_id, event.epoch, dict(event.metrics))

    def on_unfused(self, trial: Trial, reason: str) -> None:
        """See Sink."""
        self._send("abandon_run", trial.trial_id)

    def on_requeued(self, trial: Trial, reason: str) -> None:
        """See Sink."""
        self.on_unfused(trial, reason)

    def on_ended(self, trial: Trial, result: Result) -> None:
        """See Sink."""
        self.send_trial(trial.trial_id)

    # ---- for `ablate wandb push` and the report ---------------------------------------------------------------------

    def send_trial(self, trial_id: str, *, replaced_ids: Sequence[str] = ()) -> None:
        """Have the complete run of a trial written from the ledger, then the runs of these ids deleted."""
        self._send("finish_run", trial_id, list(replaced_ids))

    def delete_runs(self, trial_id: str, run_ids: Sequence[str]) -> None:
        """Have superfluous runs of a trial deleted."""
        self._send("delete_runs", trial_id, list(run_ids))

    def send_report(self) -> None:
        """Have a run written with the study's tables and report, which are on disk."""
        self._send("write_report")

    def _send(self, *message: Any) -> None:
        """Send a message, and handle those that have arrived."""
        self._child.send(*message)
        self._handle_messages(0.0)

    def _handle_messages(self, seconds: float) -> bool:
        """Handle messages for some time, and return whether the child has ended."""
        until = time.monotonic() + seconds
        try:
            while self._handle_message(max(0.0, until - time.monotonic())):
                pass
        except TimeoutError:
            return False
        return True

    def _handle_message(self, seconds: float) -> bool:
        """Handle the child's next message. Return False if it has ended.

        Raises:
            TimeoutError: if no message arrives within this time.
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

    def _last_log_line(self) -> str:
        line = self._child.last_log_line()
        return f" ({line})" if line else ""

    def _warn(self, problem: str) -> None:
        """Print the first problem. Later ones mostly have the same cause, and `ablate wandb verify` shows the rest."""
        if self.problem is None:
            self.problem = problem
            if self._console is not None:
                self._console.print(
                    f"W&B: {problem}; the study continues without it, and `ablate wandb push {self._directory}` writes "
                    "the runs afterwards",
                    markup=False,
                    emoji=False,
                    soft_wrap=True,
                )


def find_agent_run_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the id that W&B has given to the run of this process; None unless an agent of a sweep started it.

    W&B ignores every other id in such a process.

    >>> find_agent_run_id({"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "abc"}), find_agent_run_id({"WANDB_RUN_ID": "abc"})
    ('abc', None)
    """
    return environment.get("WANDB_RUN_ID") or None if environment.get("WANDB_SWEEP_ID") else None


def check_installed() -> None:
    """Check the version of the installed wandb, without importing it.

    Raises:
        InputError: if wandb is not installed or too old; the message names the version.
    """
    how = f'version {LOWEST_VERSION} or newer is needed: `pip install "wandb>={LOWEST_VERSION}"`'
    try:
        found = importlib.metadata.version("wandb")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"Weights & Biases needs the package wandb, which is not installed; {how}") from None
    if Version(found) < Version(LOWEST_VERSION):
        raise InputError(f"wandb {found} is too old; {how}")

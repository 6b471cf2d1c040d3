"""Child process of the command that writes runs to W&B.

A hang or a crash of W&B's client costs no trial here. If the command is killed, the end of the input shows it, and open
runs are finished as interrupted.

Messages from the command: ("settings", folder, destination); a command that trains one trial of a shared folder then
sends ("one trial", trial id, run id of the sweep's agent or None); then the name of a method of Mirror and its
arguments. The content of runs is read from the ledger.
Messages to the command: ("ready",) or ("refused", reason); ("written", trial id or "report"); ("problem", text);
("url", address).
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from experiments.child_process import ParentChannel
from experiments.errors import InputError
from experiments.ledger.study_folder import open_ledger
from reports.wandb.destination import FOLDER, ONLINE, Destination
from reports.wandb.run_content import RunContent, make_row, make_run_content

if TYPE_CHECKING:
    from .client import OpenRun

REPORT = "report"
_NUM_THREADS = {True: 8, False: 1}  # online they mostly wait for the server, offline they compute
_INTERRUPTED = {"trial/status": "interrupted"}
_MAX_PROBLEMS = 3  # failed runs in a row, after which no more runs are written
_LOCK_SECONDS = "ABLATE_WANDB_LOCK_SECONDS"  # wait for an earlier command's child to finish its runs; 30 by default


class Mirror:
    """Runs of W&B that follow the trials of a ledger. All methods but `close` return at once.

    is_well: whether W&B has accepted everything so far.

    Args:
        directory: study folder.
        destination: destination of the runs.
        channel: channel to the command.
        agent_run_id: id of the run of a sweep's agent; None without an agent.
    """

    def __init__(
        self, directory: Path, destination: Destination, channel: ParentChannel, agent_run_id: str | None = None
    ) -> None:
        self.is_well = True
        self._directory = directory
        self._destination = destination
        self._channel = channel
        self._agent_run_id = agent_run_id
        self._executors = [ThreadPoolExecutor(1) for _ in range(_NUM_THREADS[destination.mode == ONLINE])]
        self._executor_of: dict[str, ThreadPoolExecutor] = {}
        self._open: dict[str, OpenRun] = {}
        self._finished_ids: list[str] = []
        self._abandoned: dict[str, list[str]] = {}  # trial id -> ids of its interrupted runs
        self._num_problems = 0  # in a row
        self._has_url = False

    def start_run(self, trial_id: str) -> None:
        """Start a run for a trial; a run of an earlier start is abandoned."""
        self._submit(trial_id, lambda: self._start(trial_id))

    def log_epoch(self, trial_id: str, epoch: int, metrics: dict[str, float]) -> None:
        """Log the metrics of an epoch."""
        self._submit(trial_id, lambda: self._log(trial_id, make_row(epoch, metrics)))

    def abandon_run(self, trial_id: str) -> None:
        """Finish the run of a trial that starts again later."""
        self._submit(trial_id, lambda: self._abandon(trial_id))

    def finish_run(self, trial_id: str, replaced_ids: Iterable[str] = ()) -> None:
        """Complete the run of a trial from the ledger, which has its result; then delete the runs that it replaces."""
        self._submit(trial_id, lambda: self._finish(trial_id, replaced_ids))

    def delete_runs(self, trial_id: str, run_ids: Iterable[str]) -> None:
        """Delete superfluous runs of a trial."""
        self._submit(trial_id, lambda: self._delete(run_ids))

    def write_report(self) -> None:
        """Write a run with the study's report, which is on disk."""
        self._submit(REPORT, self._write_report)

    def close(self) -> None:
        """Wait until everything is written, then finish open runs as interrupted."""
        for executor in self._executors:
            executor.submit(lambda: None).result()
        for trial_id in list(self._open):
            self._submit(trial_id, lambda trial_id=trial_id: self._interrupt(trial_id))  # type: ignore[misc]
        for executor in self._executors:
            executor.shutdown()
        if self._destination.mode != ONLINE and self._finished_ids:
            from .client import add_hashes

            add_hashes(self._directory, self._finished_ids)

    def _submit(self, key: str, work: Callable[[], None]) -> None:
        """Work for one run, after all earlier work for it."""
        executor = self._executor_of.setdefault(key, self._executors[len(self._executor_of) % len(self._executors)])
        executor.submit(self._do, key, work)

    def _do(self, key: str, work: Callable[[], None]) -> None:
        if self._num_problems >= _MAX_PROBLEMS:
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- W&B is only a view: no error of it may cost more than its run
            self._num_problems += 1
            self.is_well = False
            self._open.pop(key, None)
            from .client import describe_error

            self._channel.send("problem", describe_error(error))

    # ---- one run -------------------------------------------------------------------------------------------------

    def _start(self, trial_id: str) -> None:
        self._abandon(trial_id)
        self._open[trial_id] = self._open_run(self._read_content(trial_id))

    def _log(self, trial_id: str, row: dict[str, Any]) -> None:
        run = self._open.get(trial_id)
        if run is not None and row["epoch"] == len(run.rows):  # else `_finish` writes all missing rows
            run.log(row)

    def _abandon(self, trial_id: str) -> None:
        run = self._open.pop(trial_id, None)
        if run is not None:
            self._abandoned.setdefault(trial_id, []).append(run.run_id)
            run.finish(_INTERRUPTED, exit_code=1)

    def _finish(self, trial_id: str, replaced_ids: Iterable[str]) -> None:
        from .client import dump_row

        content = self._read_content(trial_id)
        run = self._open.get(trial_id)
        if run is not None and run.rows != [dump_row(row) for row in content.rows[: len(run.rows)]]:
            self._abandon(trial_id)  # the epochs logged during training are not those in the ledger
        run = self._open.pop(trial_id, None) or self._open_run(content, taken_ids=[*replaced_ids])
        for row in content.rows[len(run.rows) :]:
            run.log(row)
        run.finish(content.summary, content.exit_code)
        self._finished_ids.append(run.run_id)
        earlier = [self._destination.run_id(trial_id, attempt) for attempt in range(1, content.attempt)]
        self._delete({*replaced_ids, *self._abandoned.pop(trial_id, []), *earlier} - {run.run_id})
        self._num_problems = 0
        self._channel.send("written", trial_id)

    def _delete(self, run_ids: Iterable[str]) -> None:
        from .client import delete_runs

        delete_runs(self._directory, self._destination, run_ids)

    def _interrupt(self, trial_id: str) -> None:
        run = self._open.pop(trial_id, None)
        if run is not None:
            run.finish(_INTERRUPTED, exit_code=1)

    def _write_report(self) -> None:
        from .report_run import log_report, make_report_content

        content = make_report_content(self._directory, self._destination)
        run = self._open_run(content)
        log_report(run, self._directory, self._destination)
        run.finish(content.summary, content.exit_code)
        self._finished_ids.append(run.run_id)
        self._channel.send("written", REPORT)

    def _read_content(self, trial_id: str) -> RunContent:
        with open_ledger(self._directory) as ledger:
            name = ledger.study_name() or self._destination.group
            return make_run_content(ledger.trial(trial_id), name, self._destination)

    def _open_run(self, content: RunContent, taken_ids: Iterable[str] = ()) -> "OpenRun":
        """Return a new run; where the server has had a run of its id, with another id.

        Args:
            content: content of the run.
            taken_ids: ids that are not free.
        """
        from .client import OpenRun, is_deleted_id

        run_id = self._agent_run_id or content.run_id
        if self._destination.mode == ONLINE and run_id in {*taken_ids, *chain(*self._abandoned.values())}:
            run_id = _add_suffix(run_id)
        try:
            run = OpenRun(self._directory, self._destination, content, run_id)
        except Exception as error:
            if not is_deleted_id(error):
                raise
            run = OpenRun(self._directory, self._destination, content, _add_suffix(run_id))
        if run.url and not self._has_url:
            self._has_url = True
            self._channel.send("url", run.url.rpartition("/runs/")[0])
        return run


def _add_suffix(run_id: str) -> str:
    return f"{run_id}-{secrets.token_hex(3)}"


def main(channel: ParentChannel) -> None:
    """Do what the command asks for until it closes the channel."""
    message = channel.receive()
    if message is None:
        return
    _, directory, destination = message
    try:
        from .client import WITHOUT_KEY, check_login, check_settings

        check_settings()
        if destination.mode == ONLINE:
            check_login(WITHOUT_KEY)
    except InputError as error:
        channel.send("refused", str(error))
        return
    channel.send("ready")
    if not _serve(channel, directory, destination):
        os._exit(0)  # skips the exit handlers of W&B, which wait for the server


def _serve(channel: ParentChannel, directory: Path, destination: Destination) -> bool:
    """Follow the command's messages and return whether W&B has accepted everything."""
    mirror: Mirror | None = None
    lock_name, agent_run_id = "mirror", None
    with contextlib.ExitStack() as stack:
        while (message := channel.receive()) is not None:
            method, *arguments = message
            if method == "one trial":
                lock_name, agent_run_id = arguments
                continue
            if mirror is None:
                reason = _acquire_lock(directory / FOLDER / f"{lock_name}.lock", stack)
                if reason is not None:
                    channel.send("problem", reason)
                    return True
                mirror = Mirror(directory, destination, channel, agent_run_id)
                stack.callback(mirror.close)
            getattr(mirror, method)(*arguments)
    return mirror is None or mirror.is_well


def _acquire_lock(path: Path, stack: contextlib.ExitStack) -> str | None:
    """Lock the folder's runs or one of them; return the reason where this fails.

    The child of a command that was killed a moment ago may hold the lock until it has finished its runs.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=float(os.environ.get(_LOCK_SECONDS, "30")))
    except Timeout:
        return f"another command writes to {path.parent}"
    except OSError as error:
        return f"{path.parent} cannot be written ({error.strerror or error})"
    stack.callback(lock.release)
    return None

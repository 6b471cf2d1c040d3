"""The process that writes to W&B, beside the command that trains: what it is told becomes runs.

Nothing that happens in W&B's client, a hang at exit or a crash in native code included, can cost a trial then, and runs
are ended properly even where the command is killed: the end of its input is the end of the command.

Messages in: ("settings", folder, place); from a command that trains one trial beside others ("alone", trial id, id of
the run of a sweep's agent or None); then the name of a method of Mirror and its arguments. Everything else of a trial
is read from the ledger.
Messages out: ("ready",) or ("refused", reason); ("written", trial id or "report"); ("problem", text); ("url", address).
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
from reports.wandb.destination import FOLDER, ONLINE, Place
from reports.wandb.run_content import RunContent, row_of, run_of

if TYPE_CHECKING:
    from .client import OpenRun

REPORT = "report"
_LANES = {True: 8, False: 1}  # online, most of the time is waiting for a server; offline it is computing
_INTERRUPTED = {"trial/status": "interrupted"}
_MOST_PROBLEMS = 3  # runs one after the other that W&B did not take, after which no more is tried
_LOCK_SECONDS = "ABLATE_WANDB_LOCK_SECONDS"  # how long an earlier command's mirror may take to end its runs: 30


class Mirror:
    """Runs of W&B that follow the trials of a ledger. All methods but `close` return at once.

    is_well: whether W&B has taken everything so far.

    Arguments:
        directory: the study's folder.
        place: where runs go.
        channel: is sent what happened, as above.
        agents_run: the id of the run of a sweep's agent; None where there is no agent.
    """

    def __init__(self, directory: Path, place: Place, channel: ParentChannel, agents_run: str | None = None) -> None:
        self.is_well = True
        self._directory = directory
        self._place = place
        self._channel = channel
        self._agents_run = agents_run
        self._lanes = [ThreadPoolExecutor(1) for _ in range(_LANES[place.mode == ONLINE])]
        self._lane_of: dict[str, ThreadPoolExecutor] = {}
        self._open: dict[str, OpenRun] = {}
        self._given_up: dict[str, list[str]] = {}  # ids of a trial's runs that were begun, and another one stands for
        self._num_problems = 0  # in a row
        self._has_url = False

    def started(self, trial_id: str) -> None:
        """A trial begins, for the first time or again."""
        self._do(trial_id, lambda: self._start(trial_id))

    def epoch(self, trial_id: str, epoch: int, metrics: dict[str, float]) -> None:
        """An epoch of it is over."""
        self._do(trial_id, lambda: self._log(trial_id, row_of(epoch, metrics)))

    def separated(self, trial_id: str) -> None:
        """It begins again later, so what it logged is void."""
        self._do(trial_id, lambda: self._give_up(trial_id))

    def ended(self, trial_id: str, replaces: Iterable[str] = ()) -> None:
        """It is over, and its result is in the ledger; its run then stands for those of these ids."""
        self._do(trial_id, lambda: self._end(trial_id, replaces))

    def remove(self, trial_id: str, run_ids: Iterable[str]) -> None:
        """It has runs beside its own."""
        self._do(trial_id, lambda: self._remove(run_ids))

    def report(self) -> None:
        """The study's report is on disk."""
        self._do(REPORT, self._write_report)

    def close(self) -> None:
        """Return when everything is written; what is still open then is ended as interrupted."""
        for lane in self._lanes:
            lane.submit(lambda: None).result()
        for trial_id in list(self._open):
            self._do(trial_id, lambda trial_id=trial_id: self._interrupt(trial_id))  # type: ignore[misc]
        for lane in self._lanes:
            lane.shutdown()

    def _do(self, key: str, work: Callable[[], None]) -> None:
        """Work for one run, after what came before for it."""
        lane = self._lane_of.setdefault(key, self._lanes[len(self._lane_of) % len(self._lanes)])
        lane.submit(self._guarded, key, work)

    def _guarded(self, key: str, work: Callable[[], None]) -> None:
        if self._num_problems >= _MOST_PROBLEMS:
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- W&B is a view: whatever fails in it costs nothing but itself
            self._num_problems += 1
            self.is_well = False
            self._open.pop(key, None)
            from .client import first_line

            self._channel.send("problem", first_line(error))

    # ---- one run -------------------------------------------------------------------------------------------------

    def _start(self, trial_id: str) -> None:
        self._give_up(trial_id)
        self._open[trial_id] = self._opened(self._content(trial_id))

    def _log(self, trial_id: str, row: dict[str, Any]) -> None:
        run = self._open.get(trial_id)
        if run is not None and row["epoch"] == len(run.rows):  # else the end writes all that is missing
            run.log(row)

    def _give_up(self, trial_id: str) -> None:
        """End a run of a trial that begins again: the next attempt has a run of its own."""
        run = self._open.pop(trial_id, None)
        if run is not None:
            self._given_up.setdefault(trial_id, []).append(run.run_id)
            run.finish(_INTERRUPTED, exit_code=1)

    def _end(self, trial_id: str, replaces: Iterable[str]) -> None:
        from .client import text_of

        content = self._content(trial_id)
        run = self._open.get(trial_id)
        if run is not None:
            texts = [text_of(row) for row in content.rows[: len(run.rows)]]
            if run.rows != texts:  # what was told of it is not what was recorded
                self._give_up(trial_id)
        run = self._open.pop(trial_id, None) or self._opened(content, taken=[*replaces])
        for row in content.rows[len(run.rows) :]:
            run.log(row)
        run.finish(content.summary, content.exit_code)
        earlier = [self._place.run_id(trial_id, attempt) for attempt in range(1, content.attempt)]
        self._remove({*replaces, *self._given_up.pop(trial_id, []), *earlier} - {run.run_id})
        self._num_problems = 0
        self._channel.send("written", trial_id)

    def _remove(self, run_ids: Iterable[str]) -> None:
        from .client import remove

        remove(self._directory, self._place, run_ids)

    def _interrupt(self, trial_id: str) -> None:
        run = self._open.pop(trial_id, None)
        if run is not None:
            run.finish(_INTERRUPTED, exit_code=1)

    def _write_report(self) -> None:
        from .report_run import log_report, report_run

        content = report_run(self._directory, self._place)
        run = self._opened(content)
        log_report(run, self._directory, self._place)
        run.finish(content.summary, content.exit_code)
        self._channel.send("written", REPORT)

    def _content(self, trial_id: str) -> RunContent:
        with open_ledger(self._directory) as ledger:
            name = ledger.study_name() or self._place.group
            return run_of(ledger.trial(trial_id), name, self._place)

    def _opened(self, content: RunContent, taken: Iterable[str] = ()) -> "OpenRun":
        """A new run, with an id of its own where the server has had one of that id.

        Arguments:
            content: what it is to hold.
            taken: ids that are not free.
        """
        from .client import OpenRun, is_taken

        run_id = self._agents_run or content.run_id
        if self._place.mode == ONLINE and run_id in {*taken, *chain(*self._given_up.values())}:
            run_id = _another(run_id)
        try:
            run = OpenRun(self._directory, self._place, content, run_id)
        except Exception as error:
            if not is_taken(error):
                raise
            run = OpenRun(self._directory, self._place, content, _another(run_id))
        if run.url and not self._has_url:
            self._has_url = True
            self._channel.send("url", run.url.rpartition("/runs/")[0])
        return run


def _another(run_id: str) -> str:
    return f"{run_id}-{secrets.token_hex(3)}"


def main(channel: ParentChannel) -> None:
    """Do what the command asks for until it closes the channel."""
    message = channel.receive()
    if message is None:
        return
    _, directory, place = message
    try:
        from .client import WITHOUT_KEY, check_login, check_settings

        check_settings()
        if place.mode == ONLINE:
            check_login(WITHOUT_KEY)
    except InputError as error:
        channel.send("refused", str(error))
        return
    channel.send("ready")
    if not _follow(channel, directory, place):
        os._exit(0)  # without W&B's own end, which waits for a server


def _follow(channel: ParentChannel, directory: Path, place: Place) -> bool:
    """Whether everything went well until the end."""
    mirror: Mirror | None = None
    lock_name, agents_run = "mirror", None
    with contextlib.ExitStack() as stack:
        while (message := channel.receive()) is not None:
            method, *arguments = message
            if method == "alone":
                lock_name, agents_run = arguments
                continue
            if mirror is None:
                why_not = _why_not_held(directory / FOLDER / f"{lock_name}.lock", stack)
                if why_not is not None:
                    channel.send("problem", why_not)
                    return True
                mirror = Mirror(directory, place, channel, agents_run)
                stack.callback(mirror.close)
            getattr(mirror, method)(*arguments)
    return mirror is None or mirror.is_well


def _why_not_held(path: Path, stack: contextlib.ExitStack) -> str | None:
    """Hold the folder's runs or one of them, waiting for the mirror of a command that was killed a moment ago."""
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

"""The process that writes to W&B, beside the command that trains: what it is told, line by line, becomes runs.

It is a process of its own so that nothing that happens in W&B's client, a hang at exit or a crash in native code
included, can cost a trial, and so that runs are ended properly even where the command is killed: the end of its input
is the end of the command. Lines in and out are JSON.

In: {"do": a method of Mirror, and its arguments}. Before those, from a command that trains one trial beside others,
{"do": "alone", "trial_id": it, "run_id": what a sweep's agent calls its run, or null}. Everything else of a trial is
read from the ledger.
Out: {"ready": true} or {"refused": message}; {"written": trial or "report"}; {"problem": message}; {"url": address}.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from experiments.errors import InputError
from experiments.ledger import Ledger

from .beside import leave, told_on_stdout
from .place import ONLINE, Place
from .runs import RunContent, run_of

if TYPE_CHECKING:
    from .client import OpenRun

LEDGER = "ledger.sqlite"
REPORT = "report"
_LANES = {True: 8, False: 1}  # online, most of the time is waiting for a server; offline it is computing
_INTERRUPTED = {"trial/status": "interrupted"}
_MOST_PROBLEMS = 3  # runs one after the other that W&B did not take, after which no more is tried
_LOCK_SECONDS = "ABLATE_WANDB_LOCK_SECONDS"  # how long an earlier command's mirror may take to end its runs: 30

Tell = Callable[[Mapping[str, Any]], None]


class Mirror:
    """Runs of W&B that follow the trials of a ledger. All methods but `close` return at once.

    is_well: whether W&B has taken everything so far.

    Arguments:
        directory: the study's folder.
        place: where runs go.
        tell: called with what happened, as above, from several threads.
    """

    def __init__(self, directory: Path, place: Place, tell: Tell) -> None:
        self._directory = directory
        self._place = place
        self._tell = tell
        self._lanes = [ThreadPoolExecutor(1) for _ in range(_LANES[place.mode == ONLINE])]
        self._lane_of: dict[str, ThreadPoolExecutor] = {}
        self._open: dict[str, OpenRun] = {}
        self._num_problems = 0  # in a row
        self._has_url = False
        self.is_well = True

    def started(self, trial_id: str) -> None:
        """A trial begins, for the first time or again."""
        self._do(trial_id, lambda: self._start(trial_id))

    def epoch(self, trial_id: str, epoch: int, metrics: dict[str, float]) -> None:
        """An epoch of it is over."""
        self._do(trial_id, lambda: self._log(trial_id, {"epoch": epoch, **metrics}))

    def separated(self, trial_id: str) -> None:
        """It begins again later, so what it logged is void."""
        self._do(trial_id, lambda: self._begin_again(trial_id))

    def ended(self, trial_id: str) -> None:
        """It is over, and its result is in the ledger."""
        self._do(trial_id, lambda: self._end(trial_id))

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
            self._tell({"problem": (str(error).strip() or type(error).__name__).splitlines()[0]})

    # ---- one run -------------------------------------------------------------------------------------------------

    def _start(self, trial_id: str) -> None:
        run = self._open.get(trial_id)
        if run is None:
            self._open[trial_id] = self._opened(self._content(trial_id))
        elif run.rows:
            self._begin_again(trial_id)

    def _log(self, trial_id: str, row: dict[str, Any]) -> None:
        run = self._open.get(trial_id)
        if run is not None and row["epoch"] == len(run.rows):  # else the end writes all that is missing
            run.log(row)

    def _begin_again(self, trial_id: str) -> None:
        run = self._open.get(trial_id)
        if run is not None and run.rows:
            del self._open[trial_id]
            run.finish(_INTERRUPTED, exit_code=1)
            self._open[trial_id] = self._opened(self._content(trial_id))

    def _end(self, trial_id: str) -> None:
        from .client import text_of

        content = self._content(trial_id)
        run = self._open.pop(trial_id, None)
        if run is not None and content.rows is not None:
            texts = [text_of(row) for row in content.rows[: len(run.rows)]]
            if run.rows != texts:  # it was trained again in another way meanwhile
                run.finish(_INTERRUPTED, exit_code=1)
                run = None
        run = run or self._opened(content)
        for row in (content.rows or ())[len(run.rows) :]:
            run.log(row)
        run.finish(content.summary, content.exit_code)
        self._num_problems = 0
        self._tell({"written": trial_id})

    def _interrupt(self, trial_id: str) -> None:
        run = self._open.pop(trial_id, None)
        if run is not None:
            run.finish(_INTERRUPTED, exit_code=1)

    def _write_report(self) -> None:
        from .aggregate import log_report, report_run

        content = report_run(self._directory, self._place)
        run = self._opened(content)
        log_report(run, self._directory, self._place)
        run.finish(content.summary, content.exit_code)
        self._tell({"written": REPORT})

    def _content(self, trial_id: str) -> RunContent:
        with Ledger(self._directory / LEDGER, writable=False) as ledger:
            name = ledger.study_name() or self._place.group
            return run_of(ledger.trial(trial_id), name, self._place)

    def _opened(self, content: RunContent) -> "OpenRun":
        from .client import OpenRun

        run = OpenRun(self._directory, self._place, content)
        if run.url and not self._has_url:
            self._has_url = True
            self._tell({"url": run.url.rpartition("/runs/")[0]})
        return run


def main(directory: Path, place: Place) -> None:
    """Read lines until there are no more, and end."""
    tell = told_on_stdout()
    try:
        from .client import check_login

        if place.mode == ONLINE:
            check_login()
    except InputError as error:
        tell({"refused": str(error)})
        return
    tell({"ready": True})
    if not _follow(sys.stdin, directory, place, tell):
        leave()


def _follow(lines: Iterable[str], directory: Path, place: Place, tell: Tell) -> bool:
    """Whether everything went well until the end."""
    mirror: Mirror | None = None
    lock_name = "mirror"
    with contextlib.ExitStack() as stack:
        for line in lines:
            message = json.loads(line)
            what = message.pop("do")
            if what == "alone":
                lock_name = message["trial_id"]
                run_ids = {message["trial_id"]: message["run_id"]} if message["run_id"] else {}
                place = replace(place, run_ids={**place.run_ids, **run_ids})
                continue
            if mirror is None:
                if not _holds(directory / "wandb" / f"{lock_name}.lock", stack):
                    tell({"problem": f"another command writes to {directory / 'wandb'}"})
                    return True
                mirror = Mirror(directory, place, tell)
                stack.callback(mirror.close)
            getattr(mirror, what)(**message)
    return mirror is None or mirror.is_well


def _holds(path: Path, stack: contextlib.ExitStack) -> bool:
    """Hold the folder's runs or one of them, waiting for the mirror of a command that was killed a moment ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=float(os.environ.get(_LOCK_SECONDS, "30")))
    except Timeout:
        return False
    stack.callback(lock.release)
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), Place(**json.loads(sys.argv[2])))

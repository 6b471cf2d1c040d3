"""Folder of a study: ledger.sqlite, study.yaml, report/, logs/, trials/ and a lock for one writing command."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from experiments.errors import DirectoryError, EmptyLedgerError
from experiments.study.study import Study

from .ledger import Ledger

LEDGER = "ledger.sqlite"
STUDY_FILE = "study.yaml"
LOGS = "logs"  # what workers print
TRIALS = "trials"  # what the callbacks of trials write, a folder for each
_LOCK, _LOCK_HOLDER = "run.lock", "run.lock.json"
_SECONDS_TO_LOCK = 0.5  # `is_in_use` in another command holds the lock for a moment
HEADER = "# Written by `ablate run`; the ledger holds the same."


def open_ledger(directory: str | Path, *, writable: bool = False) -> Ledger:
    """Open the ledger of a study's folder.

    Raises:
        LedgerError: when it cannot be opened, or there is none to read.
    """
    return Ledger(Path(directory) / LEDGER, writable=writable)


def check_folder(directory: Path, study: Study) -> None:
    """Check that a folder can hold a study, without writing anything.

    Raises:
        DirectoryError: when it is a file, or holds another study.
        LedgerError: when its ledger is damaged, no ledger, or of a newer version.
    """
    if directory.exists() and not directory.is_dir():
        raise DirectoryError(f"{directory}: is a file; a study needs a folder: give another one with --out")
    if not (directory / LEDGER).exists():
        return
    try:
        with open_ledger(directory) as ledger:
            ledger.check_study(study.name)
    except EmptyLedgerError:
        return


@contextmanager
def lock_folder(
    directory: Path, on_wait: Callable[[str], None] | None = None, *, wait_seconds: float = _SECONDS_TO_LOCK
) -> Iterator[None]:
    """Hold the lock of a folder, which is created if it is missing. A killed command's lock is free at once.

    Args:
        directory: the study's folder.
        on_wait: wait as long as other commands hold the lock, and call this with a message for each of them.
        wait_seconds: without `on_wait`, how long to wait for another command.

    Raises:
        DirectoryError: when the folder cannot be written, or another command holds its lock.
    """
    holder_path = directory / _LOCK_HOLDER
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / _LOCK)
        _acquire(lock, directory, on_wait, wait_seconds)
    except OSError as error:
        raise DirectoryError(f"{directory}: cannot be written: {error.strerror or error}") from error
    try:
        holder_path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
        yield
    finally:
        holder_path.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, directory: Path, on_wait: Callable[[str], None] | None, wait_seconds: float) -> None:
    reported = ""
    while True:
        try:
            lock.acquire(timeout=_SECONDS_TO_LOCK if on_wait else wait_seconds, poll_interval=0.05)
        except Timeout:
            holder = _read_holder(directory / _LOCK_HOLDER)
            if on_wait is None:
                raise DirectoryError(
                    f"{directory}: is in use by {holder}; wait for it (`ablate run --wait` does) or stop it"
                ) from None
            if holder != reported:
                on_wait(f"{directory}: waiting for {holder}")
                reported = holder
        else:
            return


def write_study_file(directory: Path, study: Study) -> None:
    """Write study.yaml, unless there is one that the command did not write."""
    path = directory / STUDY_FILE
    if path.exists() and not path.read_bytes().startswith(HEADER.encode()):
        return
    text = yaml.safe_dump(study.to_dict(), sort_keys=False, allow_unicode=True, width=110)
    draft = path.with_suffix(".yaml.new")
    draft.write_text(f"{HEADER}\n{text}", encoding="utf-8")
    draft.replace(path)


def is_in_use(directory: Path) -> bool:
    """Return whether a command holds the folder's lock."""
    lock_path = directory / _LOCK
    if not lock_path.exists():
        return False
    try:
        with FileLock(lock_path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # in a folder that nobody can write


def _read_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError):
        return "another command"

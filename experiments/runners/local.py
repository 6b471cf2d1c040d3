"""Warm worker processes on this machine: one a GPU, or one a core, each with one thread.

A fork server imports what is slow (torch, lightning, the user's modules) once; workers are forked from it in a few
hundredths of a second and stay until the end. A worker that dies costs only its task, and another takes its place.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import parent_process
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .contract import Done, Event, Lost, Raised, Said, Started, Task
from .devices import has_gpu_driver, num_cores, visible_gpus

PRELOAD = "ABLATE_PRELOAD"  # in a fork server's environment: the modules that it imports, a comma in between

# One thread a worker: two workers with two BLAS threads each on two cores are ten times slower. The NVML check keeps
# torch.cuda.is_available() in the fork server from initialising CUDA, which no forked process could use afterwards.
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}

# Glibc gives large blocks back to the system when they are freed, and a training step then pays for fresh pages at
# every tensor of more than 32 MB: 31 instead of 18 ms a trial and step for fused ConvNets. A worker keeps what it once
# had, in huge pages. Other C libraries ignore these; who has set one of them has decided.
_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**36),
    "MALLOC_TOP_PAD_": str(2**26),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class LocalRunner:
    """As many places as there are GPUs, or else cores.

    Arguments:
        num_places: how many workers instead; on GPUs they take turns over the devices.
        preload: modules that the fork server imports before it forks; one that cannot be imported is left out.
    """

    def __init__(self, num_places: int | None = None, preload: Sequence[str] = ()) -> None:
        self._gpus = visible_gpus()
        self._environment = _ENVIRONMENT | {name: os.environ.get(name, value) for name, value in _ALLOCATOR.items()}
        if not has_gpu_driver():
            self._environment["CUDA_VISIBLE_DEVICES"] = ""  # else torch's optimizers look for a driver at every step
        self.num_places = num_places or len(self._gpus) or num_cores()
        has_forkserver = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: ForkServerContext | SpawnContext
        if has_forkserver:
            self._context = multiprocessing.get_context("forkserver")
            if preload:
                self._context.set_forkserver_preload([f"{__package__}.preload"])
                self._environment[PRELOAD] = ",".join(preload)
        else:  # Windows: each worker imports for itself
            self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker | None] = [None] * self.num_places
        self._log_directory: Path | None = None

    def __enter__(self) -> Self:
        """The fork server begins to import, and the caller need not wait for it."""
        if isinstance(self._context, ForkServerContext):
            with _environment(self._environment):
                multiprocessing.forkserver.ensure_running()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self._workers:
            if worker is not None:
                worker.stop()
        self._workers = [None] * self.num_places

    def log_to(self, directory: Path) -> None:
        """What tasks print goes to worker-0.log, worker-1.log, ... in this folder."""
        directory.mkdir(parents=True, exist_ok=True)
        self._log_directory = directory

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """See Runner.run."""
        busy: dict[int, _Worker] = {}
        try:
            self._run(iter(tasks), handle, busy)
        finally:
            for place, worker in busy.items():  # after an error: nobody will ask what these would have said
                worker.stop()
                self._workers[place] = None

    def _run(self, waiting: Iterator[Task], handle: Callable[[Event], None], busy: "dict[int, _Worker]") -> None:
        while True:
            for place in range(self.num_places):
                if place not in busy and (task := next(waiting, None)) is not None:
                    handle(Started(key=task.key))
                    busy[place] = self._worker(place)
                    busy[place].give(task, self._log_path(place))
            if not busy:
                return
            for place, event in self._events(busy):
                if not isinstance(event, Said):
                    del busy[place]
                if isinstance(event, Lost):
                    self._workers[place] = None
                handle(event)

    def _worker(self, place: int) -> "_Worker":
        worker = self._workers[place]
        if worker is None or not worker.is_alive():
            gpu = self._gpus[place % len(self._gpus)] if self._gpus else None
            with _environment(self._environment):
                worker = _Worker(self._context, gpu)
            self._workers[place] = worker
        return worker

    def _log_path(self, place: int) -> Path | None:
        return None if self._log_directory is None else self._log_directory / f"worker-{place}.log"

    @staticmethod
    def _events(busy: dict[int, "_Worker"]) -> list[tuple[int, Event]]:
        """Wait for at least one worker, and take one event of each that has something to say."""
        places: dict[Any, int] = {worker.connection: place for place, worker in busy.items()}
        return [(places[ready], busy[places[ready]].take()) for ready in wait(list(places))]


class _Worker:
    """One warm process, seen from the command."""

    def __init__(self, context: ForkServerContext | SpawnContext, gpu: str | None) -> None:
        self.connection, theirs = context.Pipe()
        self._key = ""
        # Not a daemon, which may have no children: a DataLoader with workers has. It ends with the command anyway.
        self._process = context.Process(target=_work, args=(theirs, gpu, list(sys.path)))
        self._process.start()
        theirs.close()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def give(self, task: Task, log_path: Path | None) -> None:
        self._key = task.key
        with contextlib.suppress(BrokenPipeError):  # a worker that died while idle: `take` tells how
            self.connection.send((task.function, task.argument, log_path))

    def take(self) -> Event:
        """The next event; the connection has one, or has ended with the process."""
        try:
            kind, *content = self.connection.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of a message
            self._process.join()
            self.connection.close()
            return Lost(key=self._key, reason=_how_it_ended(self._process.exitcode))
        if kind == "said":
            return Said(key=self._key, message=content[0])
        if kind == "done":
            return Done(key=self._key, value=content[0])
        return Raised(key=self._key, error=content[0], traceback=content[1])

    def stop(self) -> None:
        self._process.kill()  # a trial in training is not worth waiting for: it will be trained again
        self._process.join()
        self.connection.close()


def _work(connection: Connection, gpu: str | None, path: list[str]) -> None:
    """What a worker process does until the command's end of the connection closes."""
    # A DataLoader's workers start as they do anywhere else on this system: from a fork server each would import torch.
    multiprocessing.set_start_method(None, force=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the command decides what it means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    sys.path[:] = path
    log_path = None
    while True:
        try:
            function, argument, wanted_log_path = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        except Exception as error:  # noqa: BLE001 -- the task's module cannot be imported here
            connection.send(("raised", _sendable(error), traceback.format_exc()))
            continue
        if wanted_log_path is not None and wanted_log_path != log_path:
            log_path = wanted_log_path
            _print_to(log_path)
        try:
            value = function(argument, lambda message: connection.send(("said", message)))
        except Exception as error:  # noqa: BLE001 -- told to the command as an event
            connection.send(("raised", _sendable(error), traceback.format_exc()))
        else:
            connection.send(("done", value))


def _end_with_parent() -> None:
    """Do not outlive the command, however it ended: it would go on training for nobody."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _print_to(path: Path) -> None:
    """Send this process's standard output and error, of native code too, to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def _sendable(error: BaseException) -> BaseException:
    """The error itself where it can be pickled and built again, else its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- made here
    except Exception:  # noqa: BLE001 -- anything may happen in a user's exception class
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; the kernel does this when memory runs out" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended by itself with exit code {exit_code}"


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Variables for the processes started meanwhile; the caller's own environment is as it was afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

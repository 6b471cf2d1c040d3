"""Warm worker processes on this machine: one a GPU, or one a core, each with one thread.

A fork server imports what is slow (torch, lightning, the user's modules) once; workers are forked from it in a few
hundredths of a second and stay until the end. A worker that dies costs only its task, and another takes its place.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .contract import Event, Lost, Said, Started, Task, TimedOut
from .devices import Devices, find_devices, has_gpu_driver, usable_cores
from .worker import Worker

PRELOAD = "ABLATE_PRELOAD"  # in a fork server's environment: the modules that it imports, a comma in between

# One thread a worker: two workers with two BLAS threads each on two cores are ten times slower. The NVML check keeps
# torch.cuda.is_available() in the fork server from initialising CUDA, which no forked process could use afterwards.
ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}

# Glibc gives large blocks back to the system when they are freed, and a training step then pays for fresh pages at
# every tensor of more than 32 MB: 31 instead of 18 ms a trial and step for fused ConvNets. A worker keeps what it once
# had, in huge pages. Other C libraries ignore these; who has set one of them has decided.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**36),
    "MALLOC_TOP_PAD_": str(2**26),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class LocalRunner:
    """As many slots as there are GPUs, or else cores.

    Arguments:
        num_slots: how many workers instead; they take turns over the devices.
        preload: modules that the fork server imports before it forks; one that cannot be imported is left out.
        devices: which devices instead of all, see `find_devices`.

    Raises:
        ValueError: a device is not there.
    """

    def __init__(
        self, num_slots: int | None = None, preload: Sequence[str] = (), devices: Sequence[str] | None = None
    ) -> None:
        self._devices = find_devices(devices)
        self._environment = ENVIRONMENT | {name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}
        if not has_gpu_driver():
            self._environment["CUDA_VISIBLE_DEVICES"] = ""  # else torch's optimizers look for a driver at every step
        elif "CUDA_VISIBLE_DEVICES" not in os.environ:  # its numbers are nvidia-smi's then, which CUDA's are not always
            self._environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        self.num_slots = num_slots or len(self._devices.gpus or self._devices.cores) or len(usable_cores())
        has_forkserver = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: ForkServerContext | SpawnContext
        if has_forkserver:
            self._context = multiprocessing.get_context("forkserver")
            if preload:
                self._context.set_forkserver_preload(["ablation_suite", f"{__package__}.preload"])
                self._environment[PRELOAD] = ",".join(preload)
        else:  # Windows: each worker imports for itself
            self._context = multiprocessing.get_context("spawn")
        self._workers: list[Worker] = []
        self._log_directory: Path | None = None

    def __enter__(self) -> Self:
        """The fork server begins to import, and the caller need not wait for it."""
        if isinstance(self._context, ForkServerContext):
            multiprocessing.resource_tracker.ensure_running()  # the fork server needs it; its start lets Ctrl-C through
            with _environment(self._environment), _interrupts_wait(PRELOAD in self._environment):
                multiprocessing.forkserver.ensure_running()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in list(self._workers):
            self._stop(worker)

    def log_to(self, directory: Path) -> None:
        """What tasks print goes to worker-0.log, worker-1.log, ... in this folder."""
        directory.mkdir(parents=True, exist_ok=True)
        self._log_directory = directory

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """See Runner.run."""
        busy: list[Worker] = []
        try:
            self._run(iter(tasks), handle, busy)
        finally:
            for worker in busy:  # after an error: nobody will ask what these would have said
                self._stop(worker)

    def _run(self, tasks: Iterator[Task], handle: Callable[[Event], None], busy: list[Worker]) -> None:
        held: Task | None = None  # one that wants more slots than are free
        while True:
            while free := self._free_slots(busy):
                task = held if held is not None else next(tasks, None)
                held = None
                if task is None:
                    break
                num_slots = min(task.num_slots, self.num_slots)
                if num_slots > len(free):
                    held = task
                    break
                handle(Started(key=task.key))
                try:
                    worker = self._worker(tuple(free[:num_slots]))
                except (EOFError, ConnectionError) as error:
                    handle(Lost(key=task.key, reason=f"no worker process could be started: {error}"))
                    continue
                busy.append(worker)
                worker.give(task, self._log_path(worker))
            if not busy:
                return
            for worker, event in _events(busy):
                if not isinstance(event, Said):
                    busy.remove(worker)
                if isinstance(event, Lost | TimedOut):
                    self._stop(worker)
                handle(event)

    def _free_slots(self, busy: Sequence[Worker]) -> list[int]:
        taken = {slot for worker in busy for slot in worker.slots}
        return [slot for slot in range(self.num_slots) if slot not in taken]

    def _worker(self, slots: tuple[int, ...]) -> Worker:
        """The warm worker of these slots, or a new one; others that have one of them leave its device's memory."""
        for worker in [worker for worker in self._workers if not set(slots).isdisjoint(worker.slots)]:
            if worker.slots == slots and worker.is_alive():
                return worker
            self._stop(worker)
        with _environment(self._environment):
            worker = self._new_worker(slots)
        self._workers.append(worker)
        return worker

    def _new_worker(self, slots: tuple[int, ...]) -> Worker:
        try:
            return Worker(self._context, slots, self._devices_of(slots))
        except (EOFError, ConnectionError):  # the fork server was killed just then; there is another at the next try
            return Worker(self._context, slots, self._devices_of(slots))

    def _devices_of(self, slots: tuple[int, ...]) -> Devices:
        gpus, cores = self._devices.gpus, self._devices.cores
        return Devices(
            gpus=tuple(dict.fromkeys(gpus[slot % len(gpus)] for slot in slots)) if gpus else (),
            cores=tuple(dict.fromkeys(cores[slot % len(cores)] for slot in slots)) if cores else (),
        )

    def _stop(self, worker: Worker) -> None:
        worker.stop()
        if worker in self._workers:
            self._workers.remove(worker)

    def _log_path(self, worker: Worker) -> Path | None:
        return None if self._log_directory is None else self._log_directory / f"worker-{worker.slots[0]}.log"


def _events(busy: Sequence[Worker]) -> list[tuple[Worker, Event]]:
    """Wait for at least one worker, and take one event of each that has something to tell, or took too long."""
    while True:
        things: list[Any] = [thing for worker in busy for thing in (worker.connection, worker.sentinel)]
        left = [seconds for worker in busy if (seconds := worker.seconds_left()) is not None]
        wait(things, min(left, default=None))
        events = [(worker, event) for worker in busy if (event := worker.take()) is not None]
        if events:
            return events


@contextlib.contextmanager
def _interrupts_wait(inherited: bool) -> Iterator[None]:
    """Hold Ctrl-C back; a process that is started meanwhile holds it back too, until `preload` can end quietly."""
    if not inherited:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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

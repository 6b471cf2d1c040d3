"""Worker processes on this machine: one per GPU, or one per core, each with one thread.

A fork server imports the slow modules (torch, lightning, the user's) once. Workers are forked from it within a few
hundredths of a second, and are kept until the end. A worker that dies costs only its task, and is replaced.
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

from .contract import Emitted, Event, Lost, Started, Task, TimedOut
from .devices import Devices, find_cores, find_devices, has_gpu_driver
from .worker import Worker

PRELOAD = "ABLATE_PRELOAD"  # environment variable of the fork server: the modules that it imports, comma-separated

# One thread per worker: two workers with two BLAS threads each on two cores are ten times slower. The NVML check keeps
# torch.cuda.is_available() in the fork server from initialising CUDA, which no forked process could use afterwards.
ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}

# Glibc returns large blocks to the system when they are freed, so a training step pays for fresh pages at every tensor
# of more than 32 MB: 31 instead of 18 ms per trial and step for fused ConvNets. With these variables a worker keeps its
# memory, in huge pages. Other C libraries ignore them. A value that the user has set is kept.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**36),
    "MALLOC_TOP_PAD_": str(2**26),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class LocalRunner:
    """Runner with one slot per GPU, or else per core.

    Args:
        num_slots: number of workers instead; they are assigned to the devices in turn.
        preload: modules that the fork server imports before it forks; one that cannot be imported is skipped.
        devices: devices to use instead of all; see `find_devices`.

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
        elif "CUDA_VISIBLE_DEVICES" not in os.environ:  # nvidia-smi's numbers are used, and CUDA may count otherwise
            self._environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        self.num_slots = num_slots or len(self._devices.gpus or self._devices.cores) or len(find_cores())
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
        """Start the fork server's imports, without waiting for them."""
        if isinstance(self._context, ForkServerContext):
            multiprocessing.resource_tracker.ensure_running()  # the fork server needs it; its start unblocks Ctrl-C
            with _environment(self._environment), _interrupts_blocked(PRELOAD in self._environment):
                multiprocessing.forkserver.ensure_running()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in list(self._workers):
            self._stop(worker)

    def redirect_output(self, directory: Path) -> None:
        """Write the tasks' stdout and stderr to worker-0.log, worker-1.log, ... in this folder."""
        directory.mkdir(parents=True, exist_ok=True)
        self._log_directory = directory

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """See Runner.run."""
        busy: list[Worker] = []
        try:
            self._run(iter(tasks), handle, busy)
        finally:
            for worker in busy:  # after an error: their results are not wanted
                self._stop(worker)

    def _run(self, tasks: Iterator[Task], handle: Callable[[Event], None], busy: list[Worker]) -> None:
        held: Task | None = None  # a task that waits for more slots than are free
        while True:
            while free := self._find_free_slots(busy):
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
                    worker = self._get_worker(tuple(free[:num_slots]))
                except (EOFError, ConnectionError) as error:
                    handle(Lost(key=task.key, reason=f"no worker process could be started: {error}"))
                    continue
                busy.append(worker)
                worker.start_task(task, self._get_log_path(worker))
            if not busy:
                return
            for worker, event in _wait_for_events(busy):
                if not isinstance(event, Emitted):
                    busy.remove(worker)
                if isinstance(event, Lost | TimedOut):
                    self._stop(worker)
                handle(event)

    def _find_free_slots(self, busy: Sequence[Worker]) -> list[int]:
        taken = {slot for worker in busy for slot in worker.slots}
        return [slot for slot in range(self.num_slots) if slot not in taken]

    def _get_worker(self, slots: tuple[int, ...]) -> Worker:
        """Return the idle worker of these slots, or a new one; stop others with one of them, which hold GPU memory."""
        for worker in [worker for worker in self._workers if not set(slots).isdisjoint(worker.slots)]:
            if worker.slots == slots and worker.is_alive():
                return worker
            self._stop(worker)
        with _environment(self._environment):
            worker = self._start_worker(slots)
        self._workers.append(worker)
        return worker

    def _start_worker(self, slots: tuple[int, ...]) -> Worker:
        try:
            return Worker(self._context, slots, self._assign_devices(slots))
        except (EOFError, ConnectionError):  # the fork server was killed; the next try starts another
            return Worker(self._context, slots, self._assign_devices(slots))

    def _assign_devices(self, slots: tuple[int, ...]) -> Devices:
        gpus, cores = self._devices.gpus, self._devices.cores
        return Devices(
            gpus=tuple(dict.fromkeys(gpus[slot % len(gpus)] for slot in slots)) if gpus else (),
            cores=tuple(dict.fromkeys(cores[slot % len(cores)] for slot in slots)) if cores else (),
        )

    def _stop(self, worker: Worker) -> None:
        worker.stop()
        if worker in self._workers:
            self._workers.remove(worker)

    def _get_log_path(self, worker: Worker) -> Path | None:
        return None if self._log_directory is None else self._log_directory / f"worker-{worker.slots[0]}.log"


def _wait_for_events(busy: Sequence[Worker]) -> list[tuple[Worker, Event]]:
    """Wait until a worker has an event, which may be a timeout, and return one event of each that has one."""
    while True:
        handles: list[Any] = [handle for worker in busy for handle in (worker.connection, worker.sentinel)]
        left = [seconds for worker in busy if (seconds := worker.get_seconds_left()) is not None]
        wait(handles, min(left, default=None))
        events = [(worker, event) for worker in busy if (event := worker.take_event()) is not None]
        if events:
            return events


@contextlib.contextmanager
def _interrupts_blocked(inherited: bool) -> Iterator[None]:
    """Block Ctrl-C in the block, and in processes started in it until `preload` can exit without a traceback."""
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
    """Set environment variables in the block, for the processes started in it."""
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

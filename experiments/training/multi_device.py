"""Training of one trial on several devices: a process for each, and one result of all.

Lightning's launchers do not fit a worker: they run the command line again, or leave the state of callbacks in another
process. So torch starts the processes here, each trains the trial as Lightning does in processes that others have
started (LightningEnvironment), and rank 0 sends the result. The ranks find each other through a file, so no port is
opened for it; gloo and NCCL open theirs on the loopback device.

Training batches are divided among the ranks. Every rank reads all of validation and test, in the loader's order, so
that no example is left out or counted twice, and metrics equal those of one device.
"""

import contextlib
import importlib
import math
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from experiments.trials.identity import count_devices
from experiments.trials.trial import Result, Trial, TrialStatus

from .loader_hooks import change_loaders
from .streams import TrialStreams

_POLL_SECONDS = 0.05


class RankLostError(Exception):
    """A process of a trial is gone: killed, out of memory, or crashed in native code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Error that a rank raised, and its time in seconds on the clock that all processes of a machine share."""

    time: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Imported:
    """Modules that a rank imported in training, so that the ranks of the next trial need not spend seconds on them."""

    names: tuple[str, ...]

    def repeat(self) -> None:
        """Import them in this process, from which the next ranks are forked. Errors are left to these ranks."""
        for name in self.names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def train_in_ranks(train: Callable[[Any, Any], Result], argument: Any, trial: Trial, emit: Any) -> Result:
    """Call `train(argument, emit)` in one process for each device of a trial, and return the result of rank 0.

    Args:
        train: importable function; its errors fail the trial.
        argument: picklable.
        trial: its configuration has the number and kind of devices.
        emit: gets the messages of rank 0, in this process.

    Raises:
        RankLostError: a process is gone.
    """
    num_ranks = count_devices(trial.config["trainer"]["devices"])
    method = "spawn" if _cannot_fork() else "fork"
    pipes = [multiprocessing.get_context(method).Pipe(duplex=False) for _ in range(num_ranks)]
    writers = [writer for _, writer in pipes]
    open_ends = [reader for reader, _ in pipes]
    results: list[Result] = []
    failures: list[_Failure] = []
    with tempfile.TemporaryDirectory() as folder:
        ranks = start_processes(  # type: ignore[no-untyped-call]
            _run_rank,
            args=(writers, train, argument, trial, Path(folder) / "rendezvous"),
            nprocs=num_ranks,
            join=False,
            start_method=method,
        )
        for writer in writers:
            writer.close()  # the ranks hold them now, and they close when the ranks are gone
        try:
            while not ranks.join(timeout=_POLL_SECONDS):
                _read(open_ends, results, failures, emit)
            _read(open_ends, results, failures, emit)
        except ProcessExitedException as error:
            how = (
                f"was ended by {error.signal_name}" if error.signal_name else f"ended with exit code {error.exit_code}"
            )
            raise RankLostError(f"process {error.error_index} of {num_ranks} that trained one trial {how}") from None
        except ProcessRaisedException as error:
            _read(open_ends, results, failures, emit)
            failures.append(_Failure(time=math.inf, error=str(error)))
        finally:
            for process in ranks.processes:
                process.kill()
                process.join()
    if failures:  # the first one caused the others
        return Result(status=TrialStatus.FAILED, error=min(failures, key=lambda failure: failure.time).error)
    return results[0]


def is_rank() -> bool:
    """Return whether this process is one of several that train one trial."""
    return distributed.is_available() and distributed.is_initialized()


def share_loaders(owner: object) -> None:
    """Make the loaders of a data module, or of a module that brings its own, read this rank's part.

    Lightning divides a training loader that batches examples itself. A loader without automatic batching, whose sampler
    yields what is read at each step, is divided here.
    """
    change_loaders(owner, "train", _read_share)
    change_loaders(owner, "val", _read_whole)
    change_loaders(owner, "test", _read_whole)


def reads_all_examples(loaders: Any) -> bool:
    """Return whether every rank reads all examples of these evaluation loaders."""
    if isinstance(loaders, Mapping):
        return all(map(reads_all_examples, loaders.values()))
    if isinstance(loaders, list | tuple):
        return all(map(reads_all_examples, loaders))
    return isinstance(getattr(loaders, "sampler", None), _WholeSampler)


class _WholeSampler(DistributedSampler[Any]):
    """Sampler that reads as another one; Lightning does not change a loader with a DistributedSampler."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch to the other sampler."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)


class _ShareSampler(_WholeSampler):
    """Sampler of every n-th item of another one, from this rank's on; the first items fill up the last round."""

    def __iter__(self) -> Iterator[Any]:
        items = list(self.sampler)
        rank, num_ranks = distributed.get_rank(), distributed.get_world_size()
        return (items[(number * num_ranks + rank) % len(items)] for number in range(len(self)))

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / distributed.get_world_size())


def _read_whole(loader: DataLoader[Any]) -> None:
    if not isinstance(loader.dataset, IterableDataset):
        vars(loader)["sampler"] = _WholeSampler(loader.sampler)  # bypasses the loader's check


def _read_share(loader: DataLoader[Any]) -> None:
    has_samples = loader.batch_sampler is not None or isinstance(loader.sampler, DistributedSampler)
    if not has_samples and not isinstance(loader.dataset, IterableDataset):
        vars(loader)["sampler"] = _ShareSampler(loader.sampler)


def _run_rank(
    rank: int, writers: list[Any], train: Callable[[Any, Any], Result], argument: Any, trial: Trial, rendezvous: Path
) -> None:
    """Train in one process, and send messages, the result or the error."""
    for number in (signal.SIGINT, signal.SIGTERM):  # torch ends a rank so, when its parent or another rank has ended
        signal.signal(number, signal.SIG_DFL)
    for other, writer in enumerate(writers):
        if other != rank:
            writer.close()
    before = set(sys.modules)
    _set_environment(rank, len(writers), trial.seed)
    on_gpu = trial.config["trainer"].get("accelerator") != "cpu" and torch.cuda.is_available()
    try:
        distributed.init_process_group(
            "nccl" if on_gpu else "gloo", init_method=rendezvous.as_uri(), rank=rank, world_size=len(writers)
        )
        result = train(argument, writers[rank].send if rank == 0 else _discard)
    except (Exception, SystemExit) as error:
        writers[rank].send(_Failure(time=time.monotonic(), error="".join(traceback.format_exception(error))))
        raise RuntimeError from error  # torch ends the other ranks, which wait for this one
    if rank == 0:
        writers[rank].send(result)
        writers[rank].send(_Imported(names=tuple(sys.modules.keys() - before)))
    distributed.barrier()  # no rank closes its connections while another uses them
    distributed.destroy_process_group()


def _set_environment(rank: int, num_ranks: int, seed: int) -> None:
    os.environ.update(
        LOCAL_RANK=str(rank),
        NODE_RANK="0",
        WORLD_SIZE=str(num_ranks),
        MASTER_ADDR="127.0.0.1",
        PL_GLOBAL_SEED=str(TrialStreams(seed).order_seed()),  # Lightning's seed of the order of examples
    )
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, loopback)


def _cannot_fork() -> bool:
    """Return whether CUDA, which does not survive a fork, is in use in this process."""
    return os.name == "nt" or bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _discard(message: Any) -> None:
    """Ignore a message of a rank other than 0."""


def _read(readers: list[Any], results: list[Result], failures: list[_Failure], emit: Any) -> None:
    """Read all messages that have arrived, and drop the readers whose ranks are gone."""
    for reader in list(readers):
        with contextlib.suppress(EOFError, OSError):
            while reader.poll():
                message = reader.recv()
                if isinstance(message, Result):
                    results.append(message)
                elif isinstance(message, _Failure):
                    failures.append(message)
                elif isinstance(message, _Imported):
                    message.repeat()
                else:
                    emit(message)
            continue
        readers.remove(reader)

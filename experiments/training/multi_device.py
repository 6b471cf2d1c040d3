"""One trial over several devices: a process for each, in which Lightning trains its part, and one result of all.

Lightning's own launchers do not fit a worker: they run the command line again, or leave what callbacks hold in another
process. So the processes are started here, by torch, each trains the whole trial in Lightning's way for processes that
others have started (LightningEnvironment), and rank 0 sends the result. The ranks meet in a file, so that no port is
opened for it; what gloo and NCCL open between them is on the loopback device.

Training batches are shared among the ranks. Validation and test are read whole by every rank, in the loader's order, so
that no example is left out or counted twice, and metrics are those that one device would measure.
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

_SECONDS_BETWEEN_LOOKS = 0.05


class RankLostError(Exception):
    """One of the processes of a trial is gone: killed, out of memory, or crashed in native code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """What a rank raised, and when, in seconds on the clock that all processes of a machine share."""

    at: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Imported:
    """The modules that a rank imported while it trained: seconds, which the ranks of the next trial need not spend."""

    names: tuple[str, ...]

    def repeat(self) -> None:
        """Import them here, from where the next ranks are forked; what cannot be is left to them."""
        for name in self.names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def train_in_ranks(train: Callable[[Any, Any], Result], argument: Any, trial: Trial, emit: Any) -> Result:
    """What `train(argument, emit)` returns in rank 0, trained over as many processes as the trial has devices.

    Arguments:
        train: importable; raises what goes wrong.
        argument: picklable.
        trial: says how many devices, and of which kind.
        emit: takes what rank 0 emits, in this process.

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
            _rank,
            args=(writers, train, argument, trial, Path(folder) / "rendezvous"),
            nprocs=num_ranks,
            join=False,
            start_method=method,
        )
        for writer in writers:
            writer.close()  # theirs now, and seen to be closed when they are gone
        try:
            while not ranks.join(timeout=_SECONDS_BETWEEN_LOOKS):
                _read(open_ends, results, failures, emit)
            _read(open_ends, results, failures, emit)
        except ProcessExitedException as error:
            how = (
                f"was ended by {error.signal_name}" if error.signal_name else f"ended with exit code {error.exit_code}"
            )
            raise RankLostError(f"process {error.error_index} of {num_ranks} that trained one trial {how}") from None
        except ProcessRaisedException as error:
            _read(open_ends, results, failures, emit)
            failures.append(_Failure(at=math.inf, error=str(error)))
        finally:
            for process in ranks.processes:
                process.kill()
                process.join()
    if failures:  # the first; the others failed because it did
        return Result(status=TrialStatus.FAILED, error=min(failures, key=lambda failure: failure.at).error)
    return results[0]


def is_rank() -> bool:
    """Whether this process is one of several that train one trial."""
    return distributed.is_available() and distributed.is_initialized()


def share_loaders(owner: object) -> None:
    """Have the loaders of a data module, or of a module that brings its own, read what this rank is to read.

    Lightning shares a training loader that batches examples itself. One without automatic batching, whose sampler says
    what is read at each step, is shared here, since its order is its sampler's own affair.
    """
    change_loaders(owner, "train", _shared)
    change_loaders(owner, "val", _whole)
    change_loaders(owner, "test", _whole)


def reads_whole(loaders: Any) -> bool:
    """Whether every rank reads all examples of these evaluation loaders."""
    if isinstance(loaders, Mapping):
        return all(map(reads_whole, loaders.values()))
    if isinstance(loaders, list | tuple):
        return all(map(reads_whole, loaders))
    return isinstance(getattr(loaders, "sampler", None), _Whole)


class _Whole(DistributedSampler[Any]):
    """Reads as the sampler does that it stands for; Lightning leaves a loader alone that has a DistributedSampler."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Pass it on."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)


class _Share(_Whole):
    """Every n-th item from that of this rank on; the last round begins anew where items are missing for a rank."""

    def __iter__(self) -> Iterator[Any]:
        items = list(self.sampler)
        rank, num_ranks = distributed.get_rank(), distributed.get_world_size()
        return (items[(turn * num_ranks + rank) % len(items)] for turn in range(len(self)))

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / distributed.get_world_size())


def _whole(loader: DataLoader[Any]) -> None:
    if not isinstance(loader.dataset, IterableDataset):
        vars(loader)["sampler"] = _Whole(loader.sampler)  # past a guard against users who expect it to change the order


def _shared(loader: DataLoader[Any]) -> None:
    has_samples = loader.batch_sampler is not None or isinstance(loader.sampler, DistributedSampler)
    if not has_samples and not isinstance(loader.dataset, IterableDataset):
        vars(loader)["sampler"] = _Share(loader.sampler)


def _rank(
    rank: int, writers: list[Any], train: Callable[[Any, Any], Result], argument: Any, trial: Trial, meeting: Path
) -> None:
    """What each process does."""
    for number in (signal.SIGINT, signal.SIGTERM):  # by which torch ends it, when its parent or another rank has ended
        signal.signal(number, signal.SIG_DFL)
    for other, writer in enumerate(writers):
        if other != rank:
            writer.close()
    before = set(sys.modules)
    _set_environment(rank, len(writers), trial.seed)
    on_gpu = trial.config["trainer"].get("accelerator") != "cpu" and torch.cuda.is_available()
    try:
        distributed.init_process_group(
            "nccl" if on_gpu else "gloo", init_method=meeting.as_uri(), rank=rank, world_size=len(writers)
        )
        result = train(argument, writers[rank].send if rank == 0 else _unheard)
    except (Exception, SystemExit) as error:
        writers[rank].send(_Failure(at=time.monotonic(), error="".join(traceback.format_exception(error))))
        raise RuntimeError from error  # torch ends the other ranks, which wait for this one
    if rank == 0:
        writers[rank].send(result)
        writers[rank].send(_Imported(names=tuple(sys.modules.keys() - before)))
    distributed.barrier()  # none closes its connections while another still speaks
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
    """Whether CUDA, which does not survive a fork, is in use in this process."""
    return os.name == "nt" or bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _unheard(message: Any) -> None:
    """Where ranks beside the first emit to."""


def _read(readers: list[Any], results: list[Result], failures: list[_Failure], emit: Any) -> None:
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

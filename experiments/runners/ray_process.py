"""The process that is connected to a Ray cluster, and what Ray's workers do: all that imports ray.

The other end is in ray.py; experiments/child_process.py is the channel between them.
"""

import asyncio
import contextlib
import importlib
import importlib.util
import os
import pickle
import queue
import signal
import socket
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from experiments.child_process import ParentChannel

from .worker import print_to, sendable

_BIG_BYTES = 64 * 1024  # smaller arguments travel with each task
_OBJECT_STORE_BYTES = 128 * 2**20  # of a Ray of this machine: results go by it only from 100 KB on
_ANSWER_SECONDS = 5.0  # for the head to take a connection
# After which a head counts as gone; a little less than when Ray ends this process for it (ray.py sets a default).
_SILENCE_SECONDS = 0.75 * float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112 -- Ray's name
_DROP_SECONDS = 5.0

# Not sent with the current folder: results, data, environments, weights. Ray leaves out what .gitignore and .rayignore
# name as well.
_EXCLUDED_FOLDERS = (
    *("runs", "data", ".git", ".venv", "venv", "node_modules", "wandb", "lightning_logs", "mlruns"),
    *("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"),
)
_EXCLUDED_FILES = ("*.ckpt", "*.pt", "*.pth", "*.safetensors", "*.sqlite", "*.sqlite-wal", "*.sqlite-shm")


class _FailedError(Exception):
    """Nothing can be run; the message is for the user."""


def main(channel: ParentChannel) -> None:
    """Serve the command until it closes the channel."""
    message = channel.receive()
    if message is None:
        return
    try:
        connection = _Connection(message[1], channel)
        asyncio.run(connection.serve())
    except _FailedError as error:
        channel.send("failed", str(error))
    finally:
        ray.shutdown()
    os._exit(0)  # a thread may be waiting for a head that is gone


class _Connection:
    """Tasks in Ray, a coroutine each, and how many there may be."""

    def __init__(self, settings: Mapping[str, Any], channel: ParentChannel) -> None:
        self._channel = channel
        self._address: str | None = settings["address"]
        self._preload: list[str] = settings["preload"]
        self._place: dict[str, Any] = {name: settings[name] for name in ("directory", "sys_path")}
        self._is_gone = False
        self._big: ray.ObjectRef | None = None
        self._following: dict[int, tuple[asyncio.Task[None], ray.ObjectRefGenerator]] = {}
        _connect(settings)
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)  # the command gets them too, and decides
        self._node_id = ray.get_runtime_context().get_node_id()
        nodes = [node for node in ray.nodes() if node["Alive"]]
        self._unit = "GPU" if any(node["Resources"].get("GPU", 0) >= 1 for node in nodes) else "CPU"
        self._place["has_gpu"] = self._unit == "GPU"
        # A process that has initialised CUDA keeps its GPU, so it serves again only where that is the only one.
        has_choice = any(node["Resources"].get("GPU", 0) > 1 for node in nodes)
        self._function = ray.remote(max_calls=1 if has_choice else 0, max_retries=0, num_returns="streaming")(work)
        self._num_slots = self._count(nodes)
        if not self._num_slots:
            raise _FailedError("no machine in it has a free CPU or GPU to offer; `ray start --address ...` adds one")
        num_warm = 0 if has_choice else min(self._num_slots, settings["num_slots"] or self._num_slots)
        self._warmups = [self._warm_up() for _ in range(num_warm)]
        self._channel.send("slots", self._num_slots)

    async def serve(self) -> None:
        """Do what the command asks for until it closes the channel."""
        watching = asyncio.create_task(self._watch())
        while (message := await asyncio.to_thread(self._channel.receive)) is not None:
            if message[0] == "drop":
                await self._drop()
                self._channel.send("dropped", message[1])
            else:
                self._give(*message[1:])
        watching.cancel()
        if self._is_gone:
            os._exit(1)  # Ray would wait for the head that is gone
        await self._drop()

    def _give(self, number: int, function: bytes, argument: bytes | None, options: dict[str, Any]) -> None:
        given: Any = self._big if argument is None else argument
        if argument is not None and len(argument) >= _BIG_BYTES:
            given = self._big = ray.put(argument)  # once for all tasks that have it; Ray keeps a copy on each machine
        stream = self._remote(options["num_slots"], near=options["near"]).remote(
            function, given, self._place | {"logs": options["logs"]}
        )
        self._following[number] = (asyncio.create_task(self._follow(number, stream, options["timeout"])), stream)

    def _remote(self, num_slots: int, *, near: bool) -> Any:
        if near:
            # Soft: a head that takes no tasks (`--num-cpus=0`) has another machine do it.
            here = NodeAffinitySchedulingStrategy(self._node_id, soft=True)
            return self._function.options(num_cpus=1, scheduling_strategy=here)
        number = min(num_slots, self._most_on_a_node)  # its devices have to be of one machine
        return self._function.options(num_cpus=number, num_gpus=number if self._unit == "GPU" else 0)

    def _warm_up(self) -> ray.ObjectRefGenerator:
        """Import in one worker; there are as many as workers, so each gets one and the first tasks need not wait."""
        importing = pickle.dumps(import_modules), pickle.dumps(self._preload)
        return self._remote(1, near=False).remote(*importing, self._place | {"logs": None})

    async def _follow(self, number: int, stream: ray.ObjectRefGenerator, timeout: float | None) -> None:  # noqa: ASYNC109
        where = "a Ray worker"
        try:
            async with asyncio.timeout(None) as limit:
                async for reference in stream:
                    kind, *content = await reference
                    if kind == "started":
                        where = content[0]
                        if timeout is not None:
                            limit.reschedule(asyncio.get_running_loop().time() + timeout)
                        self._channel.send(kind, number)
                    else:
                        self._channel.send(kind, number, *content)
                    if kind in {"done", "raised"}:
                        return
            await self._lost(number, f"{where} ended without a result")
        except TimeoutError:
            if not limit.expired():
                raise
            ray.cancel(stream, force=True)
            self._channel.send("timed out", number, timeout)
        except (RuntimeEnvSetupError, RayTaskError) as error:  # an error of ours: those of tasks arrive as "raised"
            self._channel.send("failed", f"its machines cannot run this: {_reason(error)}{_HINT}")
        except RayError as error:
            await self._lost(number, f"{where}: {_reason(error)}")
        finally:
            self._following.pop(number, None)

    async def _drop(self) -> None:
        """End everything by force, and wait for it, though not for machines that do not answer."""
        following = list(self._following.values())
        for task, stream in following:
            task.cancel()
            with contextlib.suppress(RayError):
                ray.cancel(stream, force=True)
        ended = [asyncio.wrap_future(stream.completed().future()) for _, stream in following]
        if ended:
            await asyncio.wait(ended, timeout=_DROP_SECONDS)
            for future in ended:
                if future.done() and not future.cancelled():
                    future.exception()  # looked at, so that asyncio does not tell of it

    async def _lost(self, number: int, reason: str) -> None:
        """A task is lost, or with it the whole cluster, which then costs none."""
        try:
            await self._nodes()
        except _FailedError as error:
            self._fail(error)
        else:
            self._channel.send("lost", number, reason)

    def _fail(self, error: _FailedError) -> None:
        self._is_gone = True
        self._channel.send("failed", str(error))

    async def _watch(self) -> None:
        """Tell when the cluster grows or shrinks, and when it is gone."""
        while True:
            await asyncio.sleep(1)
            try:
                num_slots = self._count(await self._nodes())
            except _FailedError as error:
                return self._fail(error)
            if num_slots != self._num_slots:
                self._num_slots = num_slots
                self._channel.send("slots", num_slots)

    async def _nodes(self) -> list[dict[str, Any]]:
        """The nodes that are alive; raises when the head or this machine's part of the cluster is gone."""
        try:
            found = await asyncio.wait_for(asyncio.to_thread(ray.nodes), _SILENCE_SECONDS)
        except (TimeoutError, RayError, OSError):
            raise _FailedError(f"its head is gone; {_CONTINUES}") from None
        nodes = [node for node in found if node["Alive"]]
        if self._node_id not in {node["NodeID"] for node in nodes}:
            raise _FailedError(f"this machine's part of it has ended; {_CONTINUES}")
        return nodes

    def _count(self, nodes: list[dict[str, Any]]) -> int:
        """How many slots there are; remembers how many the largest machine has."""
        numbers = [int(node["Resources"].get(self._unit, 0)) for node in nodes]
        self._most_on_a_node = max([1, *numbers])
        return sum(numbers)


_CONTINUES = "what had ended is recorded, and the same command continues with any runner"
_HINT = "; each needs the Python packages that this one has, this suite's among them (docs/cluster.md)"


def _reason(error: RayError) -> str:
    """Why a task is lost, in one sentence."""
    if isinstance(error, OutOfMemoryError):
        return "Ray ended it because the machine's memory ran out"
    if isinstance(error, WorkerCrashedError):
        return "the worker process died; the kernel does this when memory runs out"
    if isinstance(error, NodeDiedError | LocalRayletDiedError | ObjectLostError):
        return "the machine is gone"
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _connect(settings: Mapping[str, Any]) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    address = settings["address"]
    if address is None:
        ray.init(
            "local",
            num_cpus=settings["num_cpus"],
            num_gpus=settings["num_gpus"],
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **quiet,
        )
        return
    if address != "auto":
        _check_address(address)
    directory, _ = settings["directory"]
    try:
        environment: dict[str, Any] = {
            "env_vars": settings["environment"],
            "working_dir": directory,
            "excludes": [*(f"/{name}/" for name in _EXCLUDED_FOLDERS), *_EXCLUDED_FILES],
        }
        if modules := _modules_to_send(settings["preload"], Path(directory)):
            environment["py_modules"] = modules
        ray.init(address, runtime_env=environment, **quiet)
    except Exception as error:  # Ray raises whatever its parts do
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _FailedError("\n".join(lines[:4])) from error


def _check_address(address: str) -> None:
    """Ray itself tries for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise _FailedError("write HOST:PORT, the address that `ray start --head` shows, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise _FailedError(
            f"nobody answers there ({error.strerror or error}); `ray status` shows a running one"
        ) from None


def _modules_to_send(names: list[str], directory: Path) -> list[str]:
    """Where the modules are that are neither installed nor sent anyway with the current folder."""
    found = []
    for top in dict.fromkeys(name.partition(".")[0] for name in names):
        with contextlib.suppress(ImportError, ValueError):  # planning will say in full what is wrong with it
            spec = importlib.util.find_spec(top)
            if spec is None or spec.origin in {"built-in", "frozen"}:
                continue
            path = Path((spec.submodule_search_locations or [spec.origin or ""])[0])
            is_installed = any(
                path.is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")
            )
            is_sent = path.is_relative_to(directory) and path.relative_to(directory).parts[0] not in _EXCLUDED_FOLDERS
            if not is_installed and not is_sent:
                found.append(str(path))
    return found


# ---- in Ray's workers ----------------------------------------------------------------------------------------------


def work(function: bytes, argument: bytes, place: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """What a Ray task says, as it happens: it started, what it emits, and how it ended.

    A thread does the work, since Ray sends on what this generator yields. All is pickled here and not by Ray, so that
    nothing but the command has to be able to read it.
    """
    yield "started", f"worker {os.getpid()} on {socket.gethostname()}"
    said: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    threading.Thread(target=_do, args=(function, argument, place, said.put), daemon=True).start()
    while True:
        words = said.get()
        yield words
        if words[0] != "said":
            return


def _do(function: bytes, argument: bytes, place: Mapping[str, Any], say: Callable[[tuple[Any, ...]], None]) -> None:
    try:
        _settle(place)
        emit = lambda message: say(("said", pickle.dumps(message)))  # noqa: E731
        value = pickle.loads(function)(pickle.loads(argument), emit)  # noqa: S301 -- from the command
        say(("done", pickle.dumps(value)))
    except BaseException as error:  # noqa: BLE001 -- told to the command as an event; SystemExit too
        say(("raised", pickle.dumps(sendable(error)), traceback.format_exc()))


_settled: dict[str, Any] = {}


def _settle(place: Mapping[str, Any]) -> None:
    """Be where the command is, as far as this machine has it: its folder, its paths, its logs."""
    if "directory" not in _settled:
        _settled["directory"] = place["directory"]
        sys.path.extend(entry for entry in place["sys_path"] if entry not in sys.path and Path(entry).exists())
        if not place["has_gpu"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else torch's optimizers look for a driver at every step
        if _is_here(place["directory"]):
            os.chdir(place["directory"][0])
    logs = place["logs"]
    if logs is not None and logs != _settled.get("logs") and _is_here(logs):
        _settled["logs"] = logs
        print_to(Path(logs[0]) / f"worker-{socket.gethostname()}-{os.getpid()}.log")


def _is_here(mark: tuple[str, int]) -> bool:
    path, inode = mark
    return Path(path).is_dir() and Path(path).stat().st_ino == inode


def import_modules(names: list[str], emit: Any) -> None:  # noqa: ARG001 -- a task's form
    """Import what later tasks need; one that cannot be imported is left out."""
    for name in names:
        with contextlib.suppress(Exception):  # planning will say in full what is wrong with it
            importlib.import_module(name)

"""Child process that is connected to Ray, and the tasks of Ray's workers. Only this file imports ray.

The command's side is ray.py. Both talk over the channel of experiments/child_process.py.
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

from .worker import make_picklable, redirect_output

_BIG_BYTES = 64 * 1024  # smaller arguments travel with each task
_OBJECT_STORE_BYTES = 128 * 2**20  # of a local Ray; only results of 100 KB or more use it
_ANSWER_SECONDS = 5.0  # limit for the head to accept a connection
# Limit after which a head counts as gone; less than that after which Ray kills this process (ray.py sets a default).
_SILENCE_SECONDS = 0.75 * float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112 -- Ray's name
_DROP_SECONDS = 5.0

# Not sent with the current folder: results, data, environments, weights. Ray also excludes what .gitignore and
# .rayignore name.
_EXCLUDED_FOLDERS = (
    *("runs", "data", ".git", ".venv", "venv", "node_modules", "wandb", "lightning_logs", "mlruns"),
    *("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"),
)
_EXCLUDED_FILES = ("*.ckpt", "*.pt", "*.pth", "*.safetensors", "*.sqlite", "*.sqlite-wal", "*.sqlite-shm")


class _FailedError(Exception):
    """Error after which no task can run. Its message is shown to the user."""


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
    os._exit(0)  # a thread may wait for a head that is gone


class _Connection:
    """Connection to Ray: one coroutine for each task, and one that watches the cluster."""

    def __init__(self, settings: Mapping[str, Any], channel: ParentChannel) -> None:
        self._channel = channel
        self._address: str | None = settings["address"]
        self._preload: list[str] = settings["preload"]
        self._context: dict[str, Any] = {name: settings[name] for name in ("directory", "sys_path")}
        self._is_gone = False
        self._big: ray.ObjectRef | None = None
        self._following: dict[int, tuple[asyncio.Task[None], ray.ObjectRefGenerator]] = {}
        _connect(settings)
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)  # the command receives them too, and decides
        self._node_id = ray.get_runtime_context().get_node_id()
        nodes = [node for node in ray.nodes() if node["Alive"]]
        self._unit = "GPU" if any(node["Resources"].get("GPU", 0) >= 1 for node in nodes) else "CPU"
        self._context["has_gpu"] = self._unit == "GPU"
        # A process that has initialised CUDA keeps its GPU, so workers are reused only on machines with one GPU.
        has_choice = any(node["Resources"].get("GPU", 0) > 1 for node in nodes)
        self._function = ray.remote(max_calls=1 if has_choice else 0, max_retries=0, num_returns="streaming")(work)
        self._num_slots = self._count_slots(nodes)
        if not self._num_slots:
            raise _FailedError("it has no CPU or GPU for tasks; `ray start --address ...` adds a machine")
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
                self._submit(*message[1:])
        watching.cancel()
        if self._is_gone:
            os._exit(1)  # ray.shutdown would wait for the head
        await self._drop()

    def _submit(self, number: int, function: bytes, argument: bytes | None, options: dict[str, Any]) -> None:
        value: Any = self._big if argument is None else argument
        if argument is not None and len(argument) >= _BIG_BYTES:
            value = self._big = ray.put(argument)  # once for all its tasks; Ray keeps a copy on each machine
        stream = self._make_remote(options["num_slots"], prefer_local_machine=options["prefer_local_machine"]).remote(
            function, value, self._context | {"logs": options["logs"]}
        )
        self._following[number] = (asyncio.create_task(self._follow(number, stream, options["timeout"])), stream)

    def _make_remote(self, num_slots: int, *, prefer_local_machine: bool) -> Any:
        if prefer_local_machine:
            # Soft: if this machine takes no tasks (`--num-cpus=0`), another one does it.
            strategy = NodeAffinitySchedulingStrategy(self._node_id, soft=True)
            return self._function.options(num_cpus=1, scheduling_strategy=strategy)
        number = min(num_slots, self._most_on_a_node)  # its devices must be on one machine
        return self._function.options(num_cpus=number, num_gpus=number if self._unit == "GPU" else 0)

    def _warm_up(self) -> ray.ObjectRefGenerator:
        """Start an import in a worker. With one call per worker, the first tasks need not wait for imports."""
        importing = pickle.dumps(import_modules), pickle.dumps(self._preload)
        return self._make_remote(1, prefer_local_machine=False).remote(*importing, self._context | {"logs": None})

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
            await self._report_loss(number, f"{where} ended without a result")
        except TimeoutError:
            if not limit.expired():
                raise
            ray.cancel(stream, force=True)
            self._channel.send("timed out", number, timeout)
        except (
            RuntimeEnvSetupError,
            RayTaskError,
        ) as error:  # an error of this suite: errors of tasks arrive as "raised"
            self._channel.send("failed", f"its machines cannot run this: {_describe_loss(error)}{_HINT}")
        except RayError as error:
            await self._report_loss(number, f"{where}: {_describe_loss(error)}")
        finally:
            self._following.pop(number, None)

    async def _drop(self) -> None:
        """Kill all tasks and wait until they have ended, except on machines that do not answer."""
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
                    future.exception()  # retrieved, so that asyncio does not print it

    async def _report_loss(self, number: int, reason: str) -> None:
        """Report that a task was lost, or that the cluster is gone."""
        try:
            await self._list_nodes()
        except _FailedError as error:
            self._fail(error)
        else:
            self._channel.send("lost", number, reason)

    def _fail(self, error: _FailedError) -> None:
        self._is_gone = True
        self._channel.send("failed", str(error))

    async def _watch(self) -> None:
        """Report when the number of slots changes, and when the cluster is gone."""
        while True:
            await asyncio.sleep(1)
            try:
                num_slots = self._count_slots(await self._list_nodes())
            except _FailedError as error:
                return self._fail(error)
            if num_slots != self._num_slots:
                self._num_slots = num_slots
                self._channel.send("slots", num_slots)

    async def _list_nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that are alive.

        Raises:
            _FailedError: if the head is gone, or this machine has left the cluster.
        """
        try:
            all_nodes = await asyncio.wait_for(asyncio.to_thread(ray.nodes), _SILENCE_SECONDS)
        except (TimeoutError, RayError, OSError):
            raise _FailedError(f"its head is gone; {_CONTINUES}") from None
        nodes = [node for node in all_nodes if node["Alive"]]
        if self._node_id not in {node["NodeID"] for node in nodes}:
            raise _FailedError(f"this machine has left it; {_CONTINUES}")
        return nodes

    def _count_slots(self, nodes: list[dict[str, Any]]) -> int:
        """Return the number of slots, and store that of the largest machine."""
        numbers = [int(node["Resources"].get(self._unit, 0)) for node in nodes]
        self._most_on_a_node = max([1, *numbers])
        return sum(numbers)


_CONTINUES = "recorded results are kept, and the same command continues with any runner"
_HINT = "; each needs the same Python packages as this machine, including this suite (docs/cluster.md)"


def _describe_loss(error: RayError) -> str:
    """Return the reason why a task was lost."""
    if isinstance(error, OutOfMemoryError):
        return "Ray killed it because the machine ran out of memory"
    if isinstance(error, WorkerCrashedError):
        return "the worker process died; the kernel kills processes when memory runs out"
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
        if modules := _find_modules_to_send(settings["preload"], Path(directory)):
            environment["py_modules"] = modules
        ray.init(address, runtime_env=environment, **quiet)
    except Exception as error:  # Ray raises whatever its parts do
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _FailedError("\n".join(lines[:4])) from error


def _check_address(address: str) -> None:
    """Check an address within seconds; Ray itself tries for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise _FailedError("the address must be auto, or HOST:PORT as `ray start --head` prints it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise _FailedError(f"no answer ({error.strerror or error}); `ray status` shows a running cluster") from None


def _find_modules_to_send(names: list[str], directory: Path) -> list[str]:
    """Return the paths of modules that are neither installed nor in the current folder, which Ray sends anyway."""
    paths = []
    for top in dict.fromkeys(name.partition(".")[0] for name in names):
        with contextlib.suppress(ImportError, ValueError):  # planning reports the error in full
            spec = importlib.util.find_spec(top)
            if spec is None or spec.origin in {"built-in", "frozen"}:
                continue
            path = Path((spec.submodule_search_locations or [spec.origin or ""])[0])
            is_installed = any(
                path.is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")
            )
            is_sent = path.is_relative_to(directory) and path.relative_to(directory).parts[0] not in _EXCLUDED_FOLDERS
            if not is_installed and not is_sent:
                paths.append(str(path))
    return paths


# ---- in Ray's workers ----------------------------------------------------------------------------------------------


def work(function: bytes, argument: bytes, context: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Run a task in a Ray worker and yield its messages: its start, what it emits, and its result or error.

    A thread runs the task, since Ray sends what this generator yields. Values are pickled here and not by Ray, so that
    only the command must be able to unpickle them.
    """
    yield "started", f"worker {os.getpid()} on {socket.gethostname()}"
    messages: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    threading.Thread(target=_run_task, args=(function, argument, context, messages.put), daemon=True).start()
    while True:
        message = messages.get()
        yield message
        if message[0] != "said":
            return


def _run_task(
    function: bytes, argument: bytes, context: Mapping[str, Any], send: Callable[[tuple[Any, ...]], None]
) -> None:
    try:
        _enter_context(context)
        emit = lambda message: send(("said", pickle.dumps(message)))  # noqa: E731
        value = pickle.loads(function)(pickle.loads(argument), emit)  # noqa: S301 -- from the command
        send(("done", pickle.dumps(value)))
    except BaseException as error:  # noqa: BLE001 -- an event for the command; SystemExit too
        send(("raised", pickle.dumps(make_picklable(error)), traceback.format_exc()))


_entered: dict[str, Any] = {}


def _enter_context(context: Mapping[str, Any]) -> None:
    """Use the command's folder, import path and log folder, as far as this machine has them."""
    if "directory" not in _entered:
        _entered["directory"] = context["directory"]
        sys.path.extend(entry for entry in context["sys_path"] if entry not in sys.path and Path(entry).exists())
        if not context["has_gpu"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else torch's optimizers look for a driver at each step
        if _is_shared(context["directory"]):
            os.chdir(context["directory"][0])
    logs = context["logs"]
    if logs is not None and logs != _entered.get("logs") and _is_shared(logs):
        _entered["logs"] = logs
        redirect_output(Path(logs[0]) / f"worker-{socket.gethostname()}-{os.getpid()}.log")


def _is_shared(folder: tuple[str, int]) -> bool:
    path, inode = folder
    return Path(path).is_dir() and Path(path).stat().st_ino == inode


def import_modules(names: list[str], emit: Any) -> None:  # noqa: ARG001 -- signature of a task
    """Import what later tasks need, and skip modules that cannot be imported."""
    for name in names:
        with contextlib.suppress(Exception):  # planning reports the error in full
            importlib.import_module(name)

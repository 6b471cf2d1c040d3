"""Stand-in for the server of Weights & Biases on the loopback address, for tests with real client processes.

    with WandbServer() as server:
        subprocess.run([sys.executable, "train.py"], env=os.environ | server.environment(), check=True)
        assert server.runs["loopback", "digits", "r1"].summary["acc"] == 0.9
        assert server.unknown == []
        assert server.trap.hosts == []

It speaks as much of the protocol of wandb 0.31 as `wandb.init`, `wandb sync`, `wandb.Api`, artifacts, sweeps with
agents and wandb-workspaces need. `failing`, `delaying`, `refusing` and `rejecting_key` are its faults.
"""

import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from wandb_graphql import GraphqlError, execute, parse
from wandb_listener import WandbListener
from wandb_mutations import WandbMutations, receive_stream
from wandb_nodes import WandbNodes
from wandb_store import RunKey, StoredArtifact, StoredRun, StoredSweep, StoredView, WandbStore
from wandb_trap import Trap

KEY = "0123456789abcdef" * 2 + "01234567"  # 40 hexadecimal digits, as W&B's own


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """Request; `operation` is GraphQL's name, else file_stream, upload, telemetry or other."""

    method: str
    path: str
    operation: str
    variables: dict[str, Any] = field(default_factory=dict)
    query: str = ""
    status: int = 200


@dataclass(slots=True, kw_only=True)
class Fault:
    """Fault of requests: a status (0: none) after a delay, `times` times (None: always)."""

    operation: str | None = None
    status: int = 0
    seconds: float = 0.0
    times: int | None = None

    def meets(self, operation: str) -> bool:
        """Return whether the fault applies to a request, and count it."""
        if self.operation not in (None, operation) or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class WandbServer:
    """Context manager that listens on a free port of 127.0.0.1 and keeps everything in memory.

    Leaving it raises the first error that the server itself had, since that is not a fault of the client.

    Args:
        entity: The entity where a client names none.
        key: The only API key that is accepted.
        appends: Whether a run that is started again without `resume` is told its number of lines, so that clients write
            after them; otherwise they write over them, line by line, as W&B's documentation has it. The protocol allows
            both, so code that starts runs again should survive both.

    Attributes:
        unknown: operations and fields that clients asked for and the server does not know, as `Operation: path`.
        requests: all requests in order.
        trap: the proxy of `environment()`; `trap.hosts` are what clients wanted to reach beyond loopback.
    """

    def __init__(self, entity: str = "loopback", key: str = KEY, *, appends: bool = False) -> None:
        self.entity = entity
        self.key = key
        self.trap = Trap()
        self.unknown: list[str] = []
        self._requests: list[RecordedRequest] = []
        self._faults: list[Fault] = []
        self._errors: list[BaseException] = []
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._uploads: dict[str, Callable[[bytes], None]] = {}
        self.store = WandbStore(entity)
        nodes = WandbNodes(self.store)
        mutations = WandbMutations(self.store, nodes, self._upload_url, appends=appends)
        self._roots = {"query": nodes.fields, "mutation": mutations.fields}
        self._http: WandbListener | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="wandb-server-", ignore_cleanup_errors=True)
        self.trap.__enter__()
        self._listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._closing.set()
        self._stop_listening()
        self.trap.__exit__()
        if self._folder is not None:
            self._folder.cleanup()
        if self._errors and kind is None:
            raise self._errors[0]

    # What was stored

    @property
    def runs(self) -> dict[RunKey, StoredRun]:
        """Return the runs by (entity, project, run id)."""
        return self.store.runs

    @property
    def artifacts(self) -> list[StoredArtifact]:
        """Return all versions of all artifacts, oldest first."""
        return list(self.store.artifacts.values())

    @property
    def views(self) -> list[StoredView]:
        """Return the workspaces and reports, oldest first."""
        return list(self.store.views.values())

    @property
    def sweeps(self) -> dict[str, StoredSweep]:
        """Return the sweeps by the id that `wandb agent` takes."""
        return self.store.sweeps

    @property
    def requests(self) -> list[RecordedRequest]:
        """Return a copy of all requests so far."""
        with self._lock:
            return list(self._requests)

    def operations(self) -> list[str]:
        """Return the operations of all requests, in order."""
        return [request.operation for request in self.requests]

    # What clients need

    @property
    def url(self) -> str:
        """Return the address that clients use instead of W&B's."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        """Return the temporary folder that is the home of client processes."""
        assert self._folder is not None, "the server runs inside `with` only"
        return Path(self._folder.name)

    def environment(self) -> dict[str, str]:
        """Return variables for client processes: they use this server and `folder`, and all other hosts are trapped."""
        folders = {
            name: str(self.folder / name.lower())
            for name in (
                "HOME",
                "TMPDIR",
                "WANDB_CONFIG_DIR",
                "WANDB_CACHE_DIR",
                "WANDB_DATA_DIR",
                "WANDB_ARTIFACT_DIR",
                "WANDB_DIR",
            )
        }
        for folder in folders.values():
            Path(folder).mkdir(exist_ok=True)
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), self.trap.url)
        proxies["NO_PROXY"] = "127.0.0.1,localhost"
        return (
            folders
            | proxies
            | {name.lower(): value for name, value in proxies.items()}
            | {
                "WANDB_BASE_URL": self.url,
                "WANDB_API_KEY": self.key,
                "WANDB_ERROR_REPORTING": "false",
            }
        )

    # Faults

    @contextmanager
    def failing(self, operation: str | None = None, *, status: int = 500, times: int | None = None) -> Iterator[Fault]:
        """Answer with `status` (to one operation; the first `times` times), without doing what was asked."""
        with self._with(Fault(operation=operation, status=status, times=times)) as fault:
            yield fault

    @contextmanager
    def delaying(self, seconds: float, operation: str | None = None, *, times: int | None = None) -> Iterator[Fault]:
        """Answer after `seconds`."""
        with self._with(Fault(operation=operation, seconds=seconds, times=times)) as fault:
            yield fault

    @contextmanager
    def rejecting_key(self) -> Iterator[Fault]:
        """Answer all requests as W&B answers an unknown key."""
        with self._with(Fault(status=401)) as fault:
            yield fault

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse and close connections; afterwards listen on the same port again."""
        placeholder = socket.socket()
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._stop_listening()
        placeholder.bind(("127.0.0.1", self.port))  # held, and not listening
        try:
            yield
        finally:
            self._listen()
            placeholder.close()

    @contextmanager
    def _with(self, fault: Fault) -> Iterator[Fault]:
        with self._lock:
            self._faults.append(fault)
        try:
            yield fault
        finally:
            with self._lock:
                self._faults.remove(fault)

    # Serving

    def _listen(self) -> None:
        self._http = WandbListener(("127.0.0.1", self.port), self._answer, self._record_error)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _stop_listening(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http.cut_connections()
            self._http = None

    def _upload_url(self, name: str, keep: Callable[[bytes], None]) -> str:
        token = f"/upload/{len(self._uploads)}/{quote(name)}"
        self._uploads[token] = keep
        return self.url + token

    def _answer(self, method: str, path: str, key: str | None, body: bytes) -> tuple[int, bytes]:
        """Return status and content of the answer to a request; called from many threads."""
        path = urlsplit(path).path
        operation, variables, query = _read(method, path, body)
        with self._lock:
            faults = [fault for fault in self._faults if fault.meets(operation)]
        status = max((fault.status for fault in faults), default=0)
        if not status and operation == "telemetry":
            status = 404  # as a server of one's own that does not collect it; clients then send none
        if not status and key != self.key and not path.startswith("/upload/"):
            status = 401
        with self._lock:
            self._requests.append(
                RecordedRequest(
                    method=method,
                    path=path,
                    operation=operation,
                    variables=variables,
                    query=query,
                    status=status or 200,
                )
            )
        for fault in faults:
            self._closing.wait(fault.seconds)
        if status:
            return status, _refusal(status, query)
        with self._lock:
            return self._act(method, path, operation, variables, query, body)

    def _act(
        self, method: str, path: str, operation: str, variables: dict[str, Any], query: str, body: bytes
    ) -> tuple[int, bytes]:
        if query:
            return self._graphql(operation, variables, query)
        if operation == "file_stream":
            _, entity, project, run_id = unquote(path).strip("/").split("/")[:4]
            run = self.store.run_of(entity, project, run_id)
            return (404, b'{"error": "run not found"}') if run is None else (200, _json(receive_stream(run, variables)))
        if operation == "upload" and path in self._uploads:
            self._uploads[path](body)
            return 200, b""
        self.unknown.append(f"{method} {path}")
        return 404, b'{"error": "not found"}'

    def _graphql(self, operation: str, variables: dict[str, Any], query: str) -> tuple[int, bytes]:
        document = parse(query)

        def missing(path: str) -> None:
            self.unknown.append(f"{operation}: {path}")

        try:
            return 200, _json({"data": execute(document, variables, self._roots[document.kind], missing)})
        except GraphqlError as error:
            return error.status, _json({"errors": [{"message": str(error)}], "data": None})

    def _record_error(self, error: BaseException) -> None:
        """Keep an error of the server, to raise it at its end."""
        with self._lock:
            self._errors.append(error)


def _read(method: str, path: str, body: bytes) -> tuple[str, dict[str, Any], str]:
    """Return a request's operation, its variables, and its GraphQL text, if any."""
    if path == "/graphql":
        sent = json.loads(body)
        document = parse(sent["query"])
        name = sent.get("operationName") or document.name or document.selections[0].name
        return name, sent.get("variables") or {}, sent["query"]
    if path.endswith("/file_stream"):
        return "file_stream", json.loads(body), ""
    if path.startswith("/sdk/otel/"):
        return "telemetry", {}, ""
    return "upload" if path.startswith("/upload/") else "other", {}, ""


def _refusal(status: int, query: str) -> bytes:
    messages = {401: "user is not logged in", 403: "permission denied"}
    message = messages.get(status, f"the test asked for status {status}")
    if not query or status not in messages:
        return _json({"error": message})
    field = parse(query).selections[0].name  # as W&B words it
    error = {"message": message, "path": [field], "extensions": {"code": "PERMISSION_ERROR"}}
    return _json({"data": {field: None}, "errors": [error]})


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()

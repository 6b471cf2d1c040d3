"""Proxy that refuses all connections and records their hosts."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


class Trap:
    """Context manager: as HTTP_PROXY and HTTPS_PROXY, it records each host and answers 403."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: list[str] = []
        self._http: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self._http = _Proxy(("127.0.0.1", 0), self)
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Return the address for HTTP_PROXY and HTTPS_PROXY."""
        assert self._http is not None
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def hosts(self) -> list[str]:
        """Return the host or `host:port` of each request."""
        with self._lock:
            return list(self._wanted)

    def record(self, host: str) -> None:
        """Record a host."""
        with self._lock:
            self._wanted.append(host)


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], trap: Trap) -> None:
        self.trap = trap
        super().__init__(address, _Refusal)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about connections that clients close early."""


class _Refusal(BaseHTTPRequestHandler):
    server: _Proxy

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # every method, CONNECT among them
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self.server.trap.record(urlsplit(self.path).netloc or self.path)
        self.send_error(403, "Nothing leaves this machine")

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

"""HTTP of the stand-in server: bodies, keys and connections."""

import base64
import gzip
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, str, str | None, bytes], tuple[int, bytes]]


class WandbListener(ThreadingHTTPServer):
    """Listener that calls `answer(method, path, key, body)` for each request, and `record_error` with its errors."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], answer: Answer, record_error: Callable[[Exception], None]) -> None:
        self.answer = answer
        self.record_error = record_error
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        """Close the connections that clients keep open."""
        with self._open_lock:
            for connection in self._open:
                with suppress(OSError):  # closed by the client meanwhile
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about connections that clients close early."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and content leave as two packets
    server: WandbListener

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # every method
            return self._respond
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def _respond(self) -> None:
        body = self._body()
        try:
            status, content = self.server.answer(self.command, self.path, self._key(), body)
        except Exception as error:  # noqa: BLE001
            self.server.record_error(error)
            status, content = 501, json.dumps({"error": repr(error)}).encode()  # which clients do not try again
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        zipped = self.headers.get("Content-Encoding") == "gzip" and not self.path.startswith("/upload/")
        return gzip.decompress(body) if zipped else body

    def _key(self) -> str | None:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            return base64.b64decode(value).decode().partition(":")[2]
        return value if kind == "Bearer" else None

"""Child process of the command, and the channel to it: pickled messages over its standard input and output.

Clients that may hang (at exit too), crash in native code or end their process by force, as those of W&B and Ray do,
live in a child, so that the command survives them. A child learns of the command's end, however it ended, as the end
of its input.
"""

import contextlib
import importlib
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import psutil

Message = tuple[Any, ...]


class ChildProcess:
    """Child process, seen from the command. Neither sending nor the child's sending ever waits for the other side.

    Args:
        module: name of a module whose `main(channel)` the child calls with a ParentChannel.
        environment: all variables of the child, to which its import path is added: the command's own.
    """

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._received: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 -- what the child prints; closed in `end`
        self._last_line = ""
        import_path = os.pathsep.join(str(Path(folder or ".").absolute()) for folder in sys.path)
        code = f"import ablation_suite; from {__name__} import serve_parent; serve_parent({module!r})"
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", code],  # -P: the current folder is imported from only if the command does so
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**environment, "PYTHONPATH": import_path},
            start_new_session=True,  # Ctrl-C reaches the command alone, which decides what it means
        )
        # Threads, so that Ctrl-C in the middle of a message cannot lose half of it.
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._write, self._read)]
        for thread in self._threads:
            thread.start()

    def send(self, *message: Any) -> None:
        """Send a message. If the child has ended, `receive` shows it."""
        self._to_send.put(pickle.dumps(message))

    def close_input(self) -> None:
        """Send nothing more: the child finishes its work and exits."""
        self._to_send.put(None)

    def receive(self, seconds: float | None = None) -> Message | None:
        """Return the child's next message, or None once the child has ended.

        Args:
            seconds: how long to wait; None for ever.

        Raises:
            TimeoutError: if there was no message within that time.
        """
        try:
            message = self._received.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"no answer for {seconds:g} s") from None
        if message is None:
            self._received.put(None)
        return message

    def end(self, grace_seconds: float = 0.0) -> int:
        """Return the child's exit code. A child that has not exited after the grace period is killed.

        Its own children are killed with it.
        """
        self.close_input()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=grace_seconds)
        finally:  # after Ctrl-C too
            if self._process.poll() is None:
                self._kill()
            self._process.wait()
            for thread in self._threads:
                thread.join()
            self._last_line = self.last_log_line()
            self._log.close()
        return self._process.returncode

    def last_log_line(self) -> str:
        """Return the last line that the child printed, or an empty text."""
        if self._log.closed:
            return self._last_line
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _kill(self) -> None:
        with contextlib.suppress(psutil.Error):  # children that have a session of their own, as W&B's service has, too
            for descendant in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    descendant.kill()
        self._process.kill()

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(OSError):
            while (content := self._to_send.get()) is not None:
                stream.write(content)
                stream.flush()
        with contextlib.suppress(OSError):
            stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while (message := _load(stream)) is not None:
                self._received.put(message)
        self._received.put(None)


def ask(module: str, *question: Any, seconds: float) -> list[Message]:
    """Start a child, send it one message, and return everything that it sends until it exits.

    Args:
        module: see ChildProcess.
        question: the message.
        seconds: how long the child may send nothing.

    Raises:
        TimeoutError: if it sent nothing for longer, and was killed.
        RuntimeError: if it failed, with the last line that it printed.
    """
    child = ChildProcess(module, os.environ)
    answers = []
    try:
        child.send(*question)
        child.close_input()
        while (answer := child.receive(seconds)) is not None:
            answers.append(answer)
        if child.end(seconds) != 0:
            raise RuntimeError(child.last_log_line() or "its process ended early")
    finally:
        child.end()
    return answers


class ParentChannel:
    """Channel to the command, seen from the child. Whatever else the child prints goes to its log."""

    def __init__(self) -> None:
        self._incoming, self._outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        self._lock = threading.Lock()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)

    def send(self, *message: Any) -> None:
        """Send a message, from any thread. If the command has ended, the end of the input shows it."""
        with self._lock, contextlib.suppress(OSError):
            pickle.dump(message, self._outgoing)
            self._outgoing.flush()

    def receive(self) -> Message | None:
        """Wait for the command's next message and return it, or None once the command sends no more or has ended."""
        return _load(self._incoming)


def serve_parent(module: str) -> None:
    """Call a module's `main` with the channel to the command, after everything printed goes to the log."""
    channel = ParentChannel()
    importlib.import_module(module).main(channel)


def _load(stream: IO[bytes]) -> Message | None:
    try:
        message: Message = pickle.load(stream)  # noqa: S301 -- the other end is our own process
    except Exception:  # noqa: BLE001 -- the other end is gone, perhaps in the middle of a message
        return None
    return message

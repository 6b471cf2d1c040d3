"""A process beside the command, in which W&B's client lives: told and heard in lines of JSON, never waited for long.

W&B's client may hang, at its exit too while a server does not answer, and what runs in native code may crash. None of
it can reach a command that keeps the client in another process and ends that process when it has said nothing for long.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 100.0  # without a word, longer than anything that W&B is asked for may take


class Beside:
    """A running process.

    Arguments:
        module: what it runs, as `python -m` does.
        arguments: of its command line.
        environment: all its variables.
        hear: called with each thing that it says, in a thread.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        hear: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.has_ended = False
        self._hear = hear
        self._num_said = 0
        self._said = threading.Condition()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed in `close`
        path = os.pathsep.join(str(Path(folder or ".").absolute()) for folder in sys.path)
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", module, *arguments],  # -P: not the current folder first, but our own path
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**environment, "PYTHONPATH": path},
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the command, which then says what is to be ended
        )
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._write, self._read)]
        for thread in self._threads:
            thread.start()

    def tell(self, message: Mapping[str, Any]) -> None:
        """Have it read a message, when it comes to that."""
        self._lines.put(json.dumps(message) + "\n")

    def tell_no_more(self) -> None:
        """Close its input: it finishes, and ends."""
        self._lines.put(None)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Return once the condition holds for what was heard, the process has ended, or so many seconds passed."""
        with self._said:
            self._said.wait_for(lambda: condition() or self.has_ended, timeout=seconds)

    def wait_for_end(self, patience: Callable[[], float]) -> bool:
        """Whether it has ended by itself; False once it said nothing for as many seconds as `patience` then says."""
        with self._said:
            while not self.has_ended:
                before, since = self._num_said, time.monotonic()
                while not self.has_ended and self._num_said == before:
                    left = since + patience() - time.monotonic()
                    if left <= 0:
                        return False
                    self._said.wait(timeout=left)
        return True

    def end(self) -> int:
        """End it now if it has not ended, and return its exit code."""
        if self.has_ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=PATIENCE_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
        code = self._process.wait()
        self.tell_no_more()
        for thread in self._threads:  # both end with the process
            thread.join()
        return code

    def last_words(self) -> str:
        """The last line that it wrote as an error, in brackets; nothing where there is none."""
        if self._errors.closed:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1]})" if lines else ""

    def close(self) -> None:
        """Let go of its files."""
        self._errors.close()

    def _write(self) -> None:
        """A thread: the command itself never waits for the process to read."""
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(OSError):  # the process has ended: its last words tell why
            while (line := self._lines.get()) is not None:
                stream.write(line)
                stream.flush()
        with contextlib.suppress(OSError):
            stream.close()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        try:
            for line in stream:
                with self._said:
                    self._num_said += 1
                    self._said.notify_all()
                    self._hear(json.loads(line))
        finally:  # also where the warning cannot be printed
            stream.close()
            with self._said:
                self.has_ended = True
                self._said.notify_all()


def ask(module: str, arguments: Sequence[str], patience_seconds: float = PATIENCE_SECONDS) -> list[Mapping[str, Any]]:
    """Everything that a process says until it ends; an error in it is its word {"refused": message}.

    Raises:
        TimeoutError: when it said nothing for so long, and was ended.
        RuntimeError: when it ended early, with its last words.
    """
    said: list[Mapping[str, Any]] = []
    process = Beside(module, arguments, os.environ, said.append)
    process.tell_no_more()
    try:
        if not process.wait_for_end(lambda: patience_seconds):
            raise TimeoutError(f"no answer for {patience_seconds:.0f} s")
        if process.end() != 0:
            raise RuntimeError(f"the process that asks ended early{process.last_words()}")
    finally:
        process.end()
        process.close()
    return said


def told_on_stdout() -> Callable[[Mapping[str, Any]], None]:
    """For the process itself: what says a message to the command. What else it prints goes to its errors now."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock = threading.Lock()

    def tell(message: Mapping[str, Any]) -> None:
        with lock, contextlib.suppress(OSError):  # nobody reads any more: the command was killed
            print(json.dumps(message), file=out, flush=True)

    return tell


def leave() -> None:
    """For the process itself: end now, without W&B's own end, which waits for a server."""
    sys.stderr.flush()
    os._exit(0)

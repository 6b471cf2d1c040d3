"""What W&B has written to a run's .wandb file, read back.

The file is a log in LevelDB's form (https://github.com/google/leveldb/blob/main/doc/log_format.md) after a header of
seven bytes: blocks of 32 KiB, in them chunks of (CRC, length, type), a record being one chunk or a first, middle ones
and a last. Each record is a protobuf message. What a killed process left is read as far as it goes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HEADER_BYTES = 7
_BLOCK_BYTES = 32 * 1024
_CHUNK_HEADER_BYTES = 7  # 4 of CRC, 2 of length, 1 of type
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(slots=True, kw_only=True)
class WrittenRun:
    """A run as W&B holds it.

    config, rows, summary: without W&B's own keys.
    exit_code: None for a run that was never ended.
    unreadable: why it, or the rest of it, cannot be read; None where it can.
    """

    run_id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)
    exit_code: int | None = None
    unreadable: str | None = None

    @property
    def trial_id(self) -> str:
        """The trial that it is of, by its configuration, else by its id; something else for a run of no trial."""
        return str(self.config.get("trial") or self.run_id.partition("-")[0]).strip("'")


def read_run(folder: Path) -> WrittenRun:
    """The run whose files are in this folder; an empty one where nothing of it reached the disk."""
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made when it is imported

    written = WrittenRun()
    for path in folder.glob("run-*.wandb"):
        try:
            for content in _records(path.read_bytes()):
                _take(written, Record.FromString(content))
        except (DecodeError, ValueError, OSError) as error:  # damaged: what comes after it cannot be trusted
            written.unreadable = str(error)
    return written


def is_own_key(key: str) -> bool:
    """Whether W&B adds this key of a configuration, row or summary by itself."""
    return key in {"_wandb", "_step", "_runtime", "_timestamp"} or key.startswith("_wandb.")


def _take(written: WrittenRun, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run = record.run
        written.run_id, written.name, written.group = run.run_id, run.display_name, run.run_group
        written.job_type, written.project = run.job_type, run.project
        _update(written.config, run.config.update)
    elif kind == "config":
        _update(written.config, record.config.update)
    elif kind == "history":
        row: dict[str, Any] = {}
        _update(row, record.history.item)
        written.rows.append(row)
    elif kind == "summary":
        _update(written.summary, record.summary.update)
        for item in record.summary.remove:
            written.summary.pop(item.key, None)
    elif kind == "artifact":
        written.artifacts.append(record.artifact.name)
    elif kind == "exit":
        written.exit_code = record.exit.exit_code


def _update(content: dict[str, Any], items: Any) -> None:
    for item in items:
        *parents, key = list(item.nested_key) or [item.key]
        if is_own_key((parents or [key])[0]):
            continue
        inner = content
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[key] = json.loads(item.value_json)


def _records(content: bytes) -> Iterator[bytes]:
    """The whole records of a log; what is cut off at its end is left out."""
    position, parts = _HEADER_BYTES, b""
    while position + _CHUNK_HEADER_BYTES <= len(content):
        left = _BLOCK_BYTES - position % _BLOCK_BYTES
        if left < _CHUNK_HEADER_BYTES:  # the end of a block is too short for a chunk, and filled with zeros
            position += left
            continue
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind = content[position + 6]
        start = position + _CHUNK_HEADER_BYTES
        chunk = content[start : start + length]
        if kind not in {_WHOLE, _FIRST, _MIDDLE, _LAST} or len(chunk) < length:
            return
        parts = chunk if kind in {_WHOLE, _FIRST} else parts + chunk
        if kind in {_WHOLE, _LAST}:
            yield parts
        position = start + length

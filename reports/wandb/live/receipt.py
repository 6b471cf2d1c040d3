"""Receipt of an offline run: a JSON file beside W&B's files, written after W&B's client has finished the run.

The format of W&B's files is not documented, so `ablate wandb verify` reads the receipt. It holds the content of the run
and the SHA-256 of W&B's file, by which damage to the file is noticed. A run without a receipt was not finished, for
example because the command was killed. W&B's service still writes to the file after the run was finished, so the hash
is added when the service has stopped; a receipt without a hash is read without this check.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.wandb.run_content import WrittenRun

FILE = "ablation-suite.json"


def write_receipt(folder: Path, run: WrittenRun) -> None:
    """Write the receipt of a finished run into the folder of its files."""
    _write(folder, {"sha256": None, "run": dataclasses.asdict(run)})


def add_hash(folder: Path) -> None:
    """Add the SHA-256 of W&B's file, which nothing writes any more, to the receipt of a run that still exists."""
    if (folder / FILE).exists():
        _write(folder, json.loads((folder / FILE).read_text(encoding="utf-8")) | {"sha256": _hash_file(folder)})


def read_receipt(folder: Path) -> WrittenRun:
    """Return the run in a folder; without a receipt, a run that was not finished."""
    unfinished = WrittenRun(run_id=folder.name.split("-", 3)[-1])
    try:
        receipt = json.loads((folder / FILE).read_text(encoding="utf-8"))
        run = WrittenRun(**receipt["run"])
        recorded = receipt["sha256"]
    except FileNotFoundError:
        return unfinished
    except (OSError, ValueError, TypeError, KeyError) as error:
        return dataclasses.replace(unfinished, read_error=f"{FILE}: {error}")
    try:
        if recorded not in {None, _hash_file(folder)}:
            return dataclasses.replace(run, read_error=f"{_find_file(folder).name} has changed since it was written")
    except OSError as error:
        return dataclasses.replace(run, read_error=str(error))
    return run


def _write(folder: Path, receipt: Mapping[str, Any]) -> None:
    temporary = folder / f"{FILE}.tmp"
    temporary.write_text(json.dumps(receipt) + "\n", encoding="utf-8")
    temporary.replace(folder / FILE)


def _hash_file(folder: Path) -> str:
    with _find_file(folder).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_file(folder: Path) -> Path:
    """Return W&B's file of the run, or its usual name if there is none."""
    return next(iter(sorted(folder.glob("*.wandb"))), folder / f"run-{folder.name.split('-', 3)[-1]}.wandb")

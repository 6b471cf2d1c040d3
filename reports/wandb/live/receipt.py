"""Receipt of an offline run: a JSON file beside W&B's files, written after W&B's client has finished the run.

The format of W&B's files is not documented, so `ablate wandb verify` reads the receipt. It holds the content of the run
and the SHA-256 of W&B's file, by which damage to the file is noticed. A run without a receipt was not finished, for
example because the command was killed.
"""

import dataclasses
import hashlib
import json
from pathlib import Path

from reports.wandb.run_content import WrittenRun

FILE = "ablation-suite.json"
_READ_ERROR_KEY = "unreadable"  # of `read_error`, in the files of all versions


def write_receipt(folder: Path, run: WrittenRun) -> None:
    """Write the receipt of a finished run into the folder of its files."""
    fields = dataclasses.asdict(run)
    fields[_READ_ERROR_KEY] = fields.pop("read_error")
    receipt = {"sha256": _hash_file(folder), "run": fields}
    (folder / FILE).write_text(json.dumps(receipt) + "\n", encoding="utf-8")


def read_receipt(folder: Path) -> WrittenRun:
    """Return the run in a folder; without a receipt, a run that was not finished."""
    unfinished = WrittenRun(run_id=folder.name.split("-", 3)[-1])
    try:
        receipt = json.loads((folder / FILE).read_text(encoding="utf-8"))
        fields = dict(receipt["run"])
        run = WrittenRun(read_error=fields.pop(_READ_ERROR_KEY, None), **fields)
        recorded = receipt["sha256"]
    except FileNotFoundError:
        return unfinished
    except (OSError, ValueError, TypeError, KeyError) as error:
        return dataclasses.replace(unfinished, read_error=f"{FILE}: {error}")
    try:
        if _hash_file(folder) != recorded:
            return dataclasses.replace(run, read_error=f"{_find_file(folder).name} has changed since it was written")
    except OSError as error:
        return dataclasses.replace(run, read_error=str(error))
    return run


def _hash_file(folder: Path) -> str:
    with _find_file(folder).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_file(folder: Path) -> Path:
    """Return W&B's file of the run, or its usual name if there is none."""
    return next(iter(sorted(folder.glob("*.wandb"))), folder / f"run-{folder.name.split('-', 3)[-1]}.wandb")

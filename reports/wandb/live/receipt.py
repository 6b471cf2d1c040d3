"""Receipt of an offline run: what its files hold, written next to them once W&B's client has ended the run.

W&B does not document the form of its files, and reads them only to upload them. A run without a receipt was never
ended, such as by a command that was killed.
"""

import dataclasses
import json
from pathlib import Path

from reports.wandb.run_content import WrittenRun

FILE = "ablation-suite.json"


def write_receipt(folder: Path, run: WrittenRun) -> None:
    """Write the receipt of the run whose files are in this folder."""
    (folder / FILE).write_text(json.dumps(dataclasses.asdict(run)) + "\n", encoding="utf-8")


def read_receipt(folder: Path) -> WrittenRun:
    """Return the run whose files are in this folder; without exit code where it has no receipt."""
    nothing = WrittenRun(run_id=folder.name.split("-", 3)[-1])
    try:
        return WrittenRun(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return nothing
    except (OSError, ValueError, TypeError) as error:
        return dataclasses.replace(nothing, unreadable=f"{FILE}: {error}")

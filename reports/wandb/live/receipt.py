"""Receipt of an offline run: its content as JSON, written beside W&B's files after W&B's client has finished the run.

The format of W&B's files is not documented, so `ablate wandb verify` reads the receipt. A run without a receipt was not
finished, for example because the command was killed.
"""

import dataclasses
import json
from pathlib import Path

from reports.wandb.run_content import WrittenRun

FILE = "ablation-suite.json"


def write_receipt(folder: Path, run: WrittenRun) -> None:
    """Write the receipt of a run into the folder of its files."""
    (folder / FILE).write_text(json.dumps(dataclasses.asdict(run)) + "\n", encoding="utf-8")


def read_receipt(folder: Path) -> WrittenRun:
    """Return the run in a folder; without a receipt, a run that was not finished."""
    unfinished = WrittenRun(run_id=folder.name.split("-", 3)[-1])
    try:
        return WrittenRun(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return unfinished
    except (OSError, ValueError, TypeError) as error:
        return dataclasses.replace(unfinished, unreadable=f"{FILE}: {error}")

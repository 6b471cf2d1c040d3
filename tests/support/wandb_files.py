"""Content of an offline run's files, read by W&B's own command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from reports.wandb.compare.server_runs import is_wandb_internal_key
from reports.wandb.run_content import WrittenRun


def records_in(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the kind and content of each record, in order."""
    (path,) = folder.glob("run-*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(command, capture_output=True, check=True, timeout=600).stdout.decode().splitlines()
    return [(record["type"], record[record["type"]]) for record in map(json.loads, lines)]


def read_run(folder: Path) -> WrittenRun:
    """Return the run, without W&B's own keys."""
    run = WrittenRun()
    for kind, content in records_in(folder):
        if kind == "run":
            run.run_id, run.name = content["run_id"], content.get("display_name", "")
            run.group, run.job_type, run.project = (
                content.get("run_group", ""),
                content.get("job_type", ""),
                content["project"],
            )
            run.config |= _drop_internal_keys(content["config"]["update"])
        elif kind == "config":
            run.config |= _drop_internal_keys(content["update"])
        elif kind == "history":
            run.rows.append(_drop_internal_keys(content["item"]))
        elif kind == "summary":
            run.summary |= _drop_internal_keys(content["update"])
        elif kind == "exit":
            run.exit_code = content.get("exit_code", 0)
    return run


def _drop_internal_keys(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if not is_wandb_internal_key(key)}

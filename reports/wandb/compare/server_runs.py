"""A study's runs on W&B's server, each with its complete history, read by a child process."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from experiments.child_process import ParentChannel, ask
from experiments.errors import InputError
from reports.wandb.destination import Destination
from reports.wandb.live.sink import PATIENCE_SECONDS
from reports.wandb.run_content import WrittenRun

_NUM_THREADS = 8
_EXIT_CODE_BY_STATE = {"finished": 0, "failed": 1}


def fetch_runs(destination: Destination) -> list[WrittenRun]:
    """Return all runs of a study's group on the server; an empty list if the project does not exist.

    Raises:
        InputError: if there is no API key, or the server fails.
    """
    try:
        answers = ask(__name__, destination, seconds=PATIENCE_SECONDS)
    except (TimeoutError, RuntimeError) as error:
        raise InputError(f"W&B: the runs of {destination.project} cannot be read: {error}") from error
    for kind, content in answers:
        if kind == "error":
            raise InputError(content)
    return [run for _, run in answers]


def main(channel: ParentChannel) -> None:
    """Send all runs of the group to the parent process."""
    from reports.wandb.live.client import WITHOUT_KEY, check_login, describe_error, fetch_group, is_wandb_error

    (destination,) = channel.receive() or ()
    try:
        check_login(WITHOUT_KEY)
        with ThreadPoolExecutor(_NUM_THREADS) as pool:
            for run in pool.map(_read_run, fetch_group(destination)):
                channel.send("run", run)
    except InputError as error:
        channel.send("error", str(error))
    except Exception as error:
        if not is_wandb_error(error):
            raise
        channel.send("error", f"W&B: the runs of {destination.project} cannot be read: {describe_error(error)}")
    os._exit(0)  # skips the exit handlers of W&B, which wait for the server


def is_wandb_internal_key(key: str) -> bool:
    """Return whether W&B itself adds this key to a config, row or summary."""
    return key in {"_wandb", "_step", "_runtime", "_timestamp"} or key.startswith("_wandb.")


def _read_run(run: Any) -> WrittenRun:
    from reports.wandb.live.client import describe_error, is_wandb_error

    try:
        rows, read_error = [_drop_internal_keys(row) for row in run.scan_history()], None
    except Exception as error:
        if not is_wandb_error(error):
            raise
        rows, read_error = [], describe_error(error)  # the other runs are still compared
    return WrittenRun(
        run_id=run.id,
        name=run.name,
        group=run.group or "",
        job_type=run.job_type or "",
        project=run.project,
        config=_drop_internal_keys(run.config),
        rows=rows,
        summary=_drop_internal_keys(run.summary_metrics),
        exit_code=_EXIT_CODE_BY_STATE.get(run.state),
        read_error=read_error,
    )


def _drop_internal_keys(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if not is_wandb_internal_key(key)}

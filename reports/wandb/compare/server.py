"""What the server of W&B has of a study: every run of its group with its history, asked for by a process of its own."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from experiments.child_process import ParentChannel, ask
from experiments.errors import InputError
from reports.wandb.destination import Place
from reports.wandb.live.sink import PATIENCE_SECONDS
from reports.wandb.run_content import WrittenRun

_READERS = 8  # runs that are read at a time
_STATES = {"finished": 0, "failed": 1}  # exit codes


def runs_on_server(place: Place) -> list[WrittenRun]:
    """Every run of a study that the server has; nothing where it has no such project.

    Raises:
        InputError: when there is no API key, or the server does not answer as it should.
    """
    try:
        answers = ask(__name__, place, seconds=PATIENCE_SECONDS)
    except (TimeoutError, RuntimeError) as error:
        raise InputError(f"W&B: the runs of {place.project} cannot be read: {error}") from error
    for kind, content in answers:
        if kind == "refused":
            raise InputError(content)
    return [run for _, run in answers]


def main(channel: ParentChannel) -> None:
    """Send every run of the group."""
    from reports.wandb.live.client import WITHOUT_KEY, check_login, first_line, group_of, is_wandb_error

    (place,) = channel.receive() or ()
    try:
        check_login(WITHOUT_KEY)
        with ThreadPoolExecutor(_READERS) as pool:
            for run in pool.map(_read, group_of(place)):
                channel.send("run", run)
    except InputError as error:
        channel.send("refused", str(error))
    except Exception as error:
        if not is_wandb_error(error):
            raise
        channel.send("refused", f"W&B: the runs of {place.project} cannot be read: {first_line(error)}")
    os._exit(0)  # without W&B's own end, which waits for a server


def is_own_key(key: str) -> bool:
    """Whether W&B adds this key of a configuration, row or summary by itself."""
    return key in {"_wandb", "_step", "_runtime", "_timestamp"} or key.startswith("_wandb.")


def _read(run: Any) -> WrittenRun:
    from reports.wandb.live.client import first_line, is_wandb_error

    try:
        rows, unreadable = [_without_own(row) for row in run.scan_history()], None
    except Exception as error:
        if not is_wandb_error(error):
            raise
        rows, unreadable = [], first_line(error)  # one run must not keep the others from being compared
    return WrittenRun(
        run_id=run.id,
        name=run.name,
        group=run.group or "",
        job_type=run.job_type or "",
        project=run.project,
        config=_without_own(run.config),
        rows=rows,
        summary=_without_own(run.summary_metrics),
        exit_code=_STATES.get(run.state),
        unreadable=unreadable,
    )


def _without_own(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if not is_own_key(key)}

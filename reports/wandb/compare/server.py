"""What the server of W&B has of a study: every run of its group with its history, asked for by a process of its own."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from experiments.errors import InputError
from reports.wandb.destination import Place
from reports.wandb.live.child_process import ask, leave, told_on_stdout

from .offline_files import WrittenRun, is_own_key

_READERS = 8  # runs that are read at a time
_STATES = {"finished": 0, "failed": 1}  # exit codes


def runs_on_server(place: Place) -> list[WrittenRun]:
    """Every run of a study that the server has; nothing where it has no such project.

    Raises:
        InputError: when there is no API key, or the server does not answer as it should.
    """
    try:
        said = ask(f"{__package__}.server", [json.dumps(place.to_dict())])
    except (TimeoutError, RuntimeError) as error:
        raise InputError(f"W&B: the runs of {place.project} cannot be read: {error}") from error
    refused = [message["refused"] for message in said if "refused" in message]
    if refused:
        raise InputError(refused[0])
    return [WrittenRun(**message["run"]) for message in said]


def main(place: Place) -> None:
    """Say every run of the group."""
    tell = told_on_stdout()
    from reports.wandb.live.client import check_login, first_line, group_of, is_wandb_error

    try:
        check_login()
        with ThreadPoolExecutor(_READERS) as pool:
            for run in pool.map(_read, group_of(place)):
                tell({"run": dataclasses.asdict(run)})
    except InputError as error:
        tell({"refused": str(error)})
    except Exception as error:
        if not is_wandb_error(error):
            raise
        tell({"refused": f"W&B: the runs of {place.project} cannot be read: {first_line(error)}"})
    leave()


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


if __name__ == "__main__":
    main(Place(**json.loads(sys.argv[1])))

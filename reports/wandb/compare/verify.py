"""Comparison of the runs in W&B with the ledger: rows, config and summary of each run."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.ledger.study_folder import open_ledger
from experiments.trials.trial import TrialStatus
from reports.wandb.destination import FOLDER, ONLINE, Destination
from reports.wandb.live.receipt import read_receipt
from reports.wandb.run_content import RunContent, WrittenRun, make_run_content

from .server_runs import fetch_runs

MISSING = "is missing"
UNPLANNED = "is of an earlier plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCheck:
    """Trial that has ended, and its runs in W&B.

    difference: first difference between W&B and the ledger; None if W&B has exactly one run, equal to the ledger.
    matching: ids of the runs that equal the ledger.
    others: ids of the trial's other runs.
    is_planned: whether the trial belongs to the current plan. Runs of earlier plans would be part of W&B's averages.
    """

    trial_id: str
    name: str
    difference: str | None
    matching: tuple[str, ...]
    others: tuple[str, ...]
    is_planned: bool = True


def verify(directory: Path, destination: Destination) -> list[RunCheck]:
    """Compare each planned trial that has ended with its runs in W&B, and list runs of earlier plans.

    Offline, the receipts in DIR/wandb are read; online, the server is asked. The config of a run names its trial.

    Args:
        directory: study folder.
        destination: destination of its runs.

    Returns:
        Planned trials in the order of the plan, then trials of earlier plans.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
        InputError: if the server cannot be asked.
    """
    found: dict[str, list[WrittenRun]] = {}
    for run in fetch_runs(destination) if destination.mode == ONLINE else _read_receipts(directory):
        found.setdefault(run.trial_id, []).append(run)
    with open_ledger(directory) as ledger:
        study_name = ledger.study_name() or destination.group
        rows = [row for row in ledger.trials() if TrialStatus(row["status"]).has_ended]
        trials = [ledger.trial(row["trial_id"]) for row in rows]
        earlier = sorted(ledger.unplanned_ids() & found.keys())
    return [
        *(
            _check_trial(
                make_run_content(trial, study_name, destination), destination, found.get(trial["trial_id"], [])
            )
            for trial in trials
        ),
        *(_make_unplanned_check(trial_id, found[trial_id]) for trial_id in earlier),
    ]


def _make_unplanned_check(trial_id: str, found: list[WrittenRun]) -> RunCheck:
    ids = tuple(run.run_id for run in found)
    name = found[0].name
    return RunCheck(trial_id=trial_id, name=name, difference=UNPLANNED, matching=(), others=ids, is_planned=False)


def _check_trial(content: RunContent, destination: Destination, found: list[WrittenRun]) -> RunCheck:
    differences = [find_difference(content, destination, run) for run in found]
    matching = [run.run_id for run, difference in zip(found, differences, strict=True) if difference is None]
    if len(found) > 1:
        difference: str | None = f"is there {len(found)} times"
    else:
        difference = differences[0] if differences else MISSING
    return RunCheck(
        trial_id=content.config["trial"],
        name=content.name,
        difference=difference,
        matching=tuple(matching),
        others=tuple(run.run_id for run in found if run.run_id not in matching),
    )


def find_difference(content: RunContent, destination: Destination, found: WrittenRun) -> str | None:
    """Return the first difference between a run and its content in the ledger, as a phrase; None if there is none."""
    return next(_find_differences(content, destination, found), None)


def _find_differences(content: RunContent, destination: Destination, found: WrittenRun) -> Iterator[str]:
    if found.read_error is not None:
        yield f"cannot be read ({found.read_error})"
    if found.exit_code is None:
        yield "was never ended"
    if len(found.rows) != len(content.rows):
        yield f"has {len(found.rows)} rows, not {len(content.rows)}"
    for number, (wanted, row) in enumerate(zip(content.rows, found.rows, strict=False)):
        if what := _find_first_difference(wanted, row):
            yield f"row {number}: {what}"
    expected: tuple[tuple[str, Any, Any], ...] = (
        ("project", destination.project, found.project),
        ("group", destination.group, found.group),
        ("job type", content.job_type, found.job_type),
        ("name", content.name, found.name),
        ("configuration", content.config, _unquote_trial(found.config)),
        ("summary", content.summary, found.summary),
    )
    for label, wanted, value in expected:
        if what := _find_first_difference(wanted, value):
            yield f"{label}{': ' if isinstance(wanted, Mapping) else ' '}{what}"
    if (found.exit_code != 0) != (content.exit_code != 0):
        yield f"ended with exit code {found.exit_code}, not {content.exit_code}"


def _unquote_trial(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Remove the quotes that a sweep has around trial ids that read as numbers."""
    return {**config, "trial": str(config["trial"]).strip("'")} if "trial" in config else config


def _read_receipts(directory: Path) -> list[WrittenRun]:
    return [read_receipt(folder) for folder in sorted((directory / FOLDER).glob("offline-run-*-*")) if folder.is_dir()]


def _find_first_difference(wanted: Any, found: Any) -> str | None:
    """Return where two values differ, as a phrase with both."""
    wanted, found = _flatten(wanted), _flatten(found)
    for key in [*wanted, *(key for key in found if key not in wanted)]:
        if key not in found:
            return f"{key} is missing"
        if key not in wanted:
            return f"{key} is there, and not in the ledger"
        if wanted[key] != found[key]:
            return f"{key} is {found[key]!r}, not {wanted[key]!r}".lstrip()
    return None


def _flatten(value: Any) -> dict[str, Any]:
    return dict(_list_leaves(_convert_to_json(value), ""))


def _list_leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _list_leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _convert_to_json(value: Any) -> Any:
    """Return a value as W&B writes it to JSON: NaN and infinities become words."""
    if isinstance(value, Mapping):
        return {str(key): _convert_to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_convert_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return json.loads(json.dumps(value))

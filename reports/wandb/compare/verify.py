"""What W&B holds of a study against the ledger: rows, configuration and summary of every run."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.ledger.study_folder import open_ledger
from experiments.trials.trial import TrialStatus
from reports.wandb.destination import FOLDER, ONLINE, Place
from reports.wandb.live.receipt import read_receipt
from reports.wandb.run_content import RunContent, WrittenRun, run_of

from .server import runs_on_server

MISSING = "is missing"
UNPLANNED = "is of an earlier plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One trial that has ended, and what W&B has of it.

    difference: the first thing in which W&B and the ledger differ; None where W&B has it once and whole.
    whole: the ids of its runs that agree with the ledger.
    others: the ids of its other runs.
    is_planned: whether the trial is of the present plan; else W&B has it from an earlier one, and would average it in.
    """

    trial_id: str
    name: str
    difference: str | None
    whole: tuple[str, ...]
    others: tuple[str, ...]
    is_planned: bool = True


def verify(directory: Path, place: Place) -> list[Checked]:
    """Every planned trial that has ended, in the order of the plan, checked against what W&B holds; and what W&B holds
    of trials that the ledger keeps from earlier plans.

    Offline, that is the receipts of the files in DIR/wandb; online, what the server answers. A run is found by the
    trial that its configuration names.

    Arguments:
        directory: the study's folder.
        place: where its runs go.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
        InputError: online, when the server cannot be asked.
    """
    found: dict[str, list[WrittenRun]] = {}
    for run in runs_on_server(place) if place.mode == ONLINE else _in_files(directory):
        found.setdefault(run.trial_id, []).append(run)
    with open_ledger(directory) as ledger:
        study_name = ledger.study_name() or place.group
        rows = [row for row in ledger.trials() if TrialStatus(row["status"]).is_finished]
        trials = [ledger.trial(row["trial_id"]) for row in rows]
        earlier = sorted(ledger.unplanned_ids() & found.keys())
    return [
        *(_checked(run_of(trial, study_name, place), place, found.get(trial["trial_id"], [])) for trial in trials),
        *(_of_an_earlier_plan(trial_id, found[trial_id]) for trial_id in earlier),
    ]


def _of_an_earlier_plan(trial_id: str, found: list[WrittenRun]) -> Checked:
    ids = tuple(run.run_id for run in found)
    name = found[0].name
    return Checked(trial_id=trial_id, name=name, difference=UNPLANNED, whole=(), others=ids, is_planned=False)


def _checked(content: RunContent, place: Place, found: list[WrittenRun]) -> Checked:
    differences = [difference_of(content, place, run) for run in found]
    whole = [run.run_id for run, difference in zip(found, differences, strict=True) if difference is None]
    if len(found) > 1:
        difference: str | None = f"is there {len(found)} times"
    else:
        difference = differences[0] if differences else MISSING
    return Checked(
        trial_id=content.config["trial"],
        name=content.name,
        difference=difference,
        whole=tuple(whole),
        others=tuple(run.run_id for run in found if run.run_id not in whole),
    )


def difference_of(content: RunContent, place: Place, found: WrittenRun) -> str | None:
    """The first thing in which a run differs from what it should be, as a phrase; None where it is whole."""
    return next(_differences(content, place, found), None)


def _differences(content: RunContent, place: Place, found: WrittenRun) -> Iterator[str]:
    if found.unreadable is not None:
        yield f"cannot be read ({found.unreadable})"
    if found.exit_code is None:
        yield "was never ended"
    if len(found.rows) != len(content.rows):
        yield f"has {len(found.rows)} rows, not {len(content.rows)}"
    for number, (wanted, row) in enumerate(zip(content.rows, found.rows, strict=False)):
        if what := _first_difference(wanted, row):
            yield f"row {number}: {what}"
    expected: tuple[tuple[str, Any, Any], ...] = (
        ("project", place.project, found.project),
        ("group", place.group, found.group),
        ("job type", content.job_type, found.job_type),
        ("name", content.name, found.name),
        ("configuration", content.config, _unquoted(found.config)),
        ("summary", content.summary, found.summary),
    )
    for label, whole, value in expected:
        if what := _first_difference(whole, value):
            yield f"{label}{': ' if isinstance(whole, Mapping) else ' '}{what}"
    if (found.exit_code != 0) != (content.exit_code != 0):
        yield f"ended with exit code {found.exit_code}, not {content.exit_code}"


def _unquoted(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run of a sweep has the trial's id as the sweep gives it, which is in quotes where it reads as a number."""
    return {**config, "trial": str(config["trial"]).strip("'")} if "trial" in config else config


def _in_files(directory: Path) -> list[WrittenRun]:
    return [read_receipt(folder) for folder in sorted((directory / FOLDER).glob("offline-run-*-*")) if folder.is_dir()]


def _first_difference(wanted: Any, found: Any) -> str | None:
    """Where two values differ, as a phrase with both."""
    wanted, found = _flat(wanted), _flat(found)
    for key in [*wanted, *(key for key in found if key not in wanted)]:
        if key not in found:
            return f"{key} is missing"
        if key not in wanted:
            return f"{key} is there, and not in the ledger"
        if wanted[key] != found[key]:
            return f"{key} is {found[key]!r}, not {wanted[key]!r}".lstrip()
    return None


def _flat(value: Any) -> dict[str, Any]:
    return dict(_leaves(_as_json(value), ""))


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _as_json(value: Any) -> Any:
    """A value as it is once it was written to JSON by W&B, which gives words to what JSON has no number for."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return json.loads(json.dumps(value))

"""Output of `ablate check`, `status`, `show` and `trial`."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.execution.run_trial import TrialOutcome
from experiments.ledger.ledger import Ledger
from experiments.study.study import Study
from experiments.text import escape_controls, join_names
from experiments.trials.trial import Group, Trial, TrialStatus

from .console import print_line

Cell = tuple[Mapping[str, str], Mapping[TrialStatus, int]]  # levels, and number of trials by status
COMPLETE = "complete"
_MOST_CELLS = 40  # listed by `ablate status`


def print_plan(study: Study, groups: Sequence[Group], notes: Sequence[str], console: Console) -> None:
    """Print factors, cells and trials of a study, what its design can estimate, and which trials will be fused.

    Args:
        study: the study.
        groups: of all its trials.
        notes: on its data.
        console: of the output.
    """
    trials = [trial for group in groups for trial in group.trials]
    console.print(f"[bold]{escape(study.name)}[/bold]: {escape(study.question)}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("factor", "levels (reference first)", "sets"):
        table.add_column(column, overflow="fold")
    for factor in study.factors:
        names = [factor.reference, *(name for name in factor.level_names if name != factor.reference)]
        keys = sorted({key for level in factor.levels for key in level.changes})
        table.add_row(escape(factor.name), escape(", ".join(names)), escape(", ".join(keys)))
    console.print(table)
    num_cells = len(trials) // len(study.seeds)
    console.print(
        f"{study.design} design: {num_cells} cells x {_describe_repetitions(study)} = {len(trials)} trials; "
        f"metric {escape(study.metric.name)} ({study.metric.goal}), "
        + (f"margin {study.metric.margin}" if study.metric.margin is not None else "no margin")
    )
    for line in _describe_estimable(study):
        console.print(f"- {line}")
    for line in _describe_groups(groups):
        console.print(f"- {line}")
    for note in notes:
        print_line(console, f"- note on the data: {escape_controls(note)}")


def print_status(ledger: Ledger, is_in_use: bool, console: Console) -> None:
    """Print the number of trials by status, in total and for each cell.

    Of more than 40 cells, the first 40 incomplete ones are listed: first those with failed trials, then those with
    diverged trials. The rest are counted. A hint explains trials that were running when a command was killed.
    """
    content = ledger.study_content()
    counts = ledger.counts()
    console.print(f"[bold]{escape(content['name'])}[/bold]: {escape(content['question'])}")
    console.print(format_status(counts))
    if counts[TrialStatus.RUNNING] and not is_in_use:
        console.print(
            "`ablate run` is not running. Running trials are either being trained by `ablate trial`, or were "
            "interrupted; `ablate run` trains the latter again"
        )
    if ledger.num_unplanned():
        console.print(f"not counted: {ledger.num_unplanned()} trials of earlier plans")
    _print_cells(ledger.cells(), content["factors"], console)


def format_status(counts: Mapping[TrialStatus, int]) -> str:
    """Format the number of trials, in total and by status.

    >>> format_status({"pending": 3, "running": 2, "finished": 4, "diverged": 0, "failed": 0})
    '9 trials, 3 pending, 2 running, 4 finished'
    """
    states = [f"{counts[status]} {status}" for status in TrialStatus if counts[status]]
    return ", ".join([f"{sum(counts.values())} trials", *states])


def format_trial(trial: Mapping[str, Any]) -> str:
    """Format a trial as YAML that LightningCLI runs, with the result and history in comments above.

    Args:
        trial: from `Ledger.trial`.
    """
    levels = ", ".join(f"{factor}={level}" for factor, level in trial["levels"].items())
    lines = [f"trial {trial['trial_id']}: {levels}, seed={trial['seed']}", f"status: {trial['status']}"]
    if not trial["planned"]:
        lines.append("not in the current plan of the study")
    if trial["seconds"] is not None:
        parameters = f", {trial['num_parameters']:,} parameters" if trial["num_parameters"] is not None else ""
        lines.append(
            f"trained by {trial['backend']} on {trial['device'] or '?'} in {trial['seconds']:.2f} s{parameters}"
        )
    if trial["diverged_epoch"] is not None:
        lines.append(f"the loss was not finite in epoch {trial['diverged_epoch']}")
    of_layers = [name for name in trial["metrics"] if name.startswith("mechanism/") and name.count("/") > 1]
    lines += [f"{name}: {_number(value)}" for name, value in trial["metrics"].items() if name not in of_layers]
    if of_layers:
        lines.append(f"{len(of_layers)} metrics of layers: see trials.csv and curves.csv")
    if (correct := trial["correct"]) is not None:
        lines.append(f"test examples classified correctly: {correct.num_right:,} of {correct.num_examples:,}")
    if trial["why_alone"]:
        lines.append(f"not fused: {trial['why_alone']}")
    for attempt in trial["history"]:
        ended = f"{attempt['status']} at {attempt['ended_at']}" if attempt["ended_at"] else "did not end"
        lines.append(f"attempt {attempt['number']}: began {attempt['started_at']}, {ended}; {attempt['versions']}")
        lines += [f"  {line}" for line in (attempt["error"] or "").rstrip().splitlines()]
    config = {
        "seed_everything": trial["seed"],
        **{key: value for key, value in trial["config"].items() if value is not None},
    }
    comment = "\n".join(f"# {line}".rstrip() for line in lines)
    return f"{comment}\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110)}"


def format_outcome(outcome: TrialOutcome, metric: str) -> str:
    """Format the result of `ablate trial`: the metric, the folder, and what to do if the trial failed.

    Args:
        outcome: of the trial.
        metric: of the study.
    """
    row, directory = outcome.row, outcome.directory
    head = f"{outcome.trial} ({row['trial_id']})"
    if row["status"] == TrialStatus.FAILED:
        last = ((row["error"] or "").strip().splitlines() or ["no message"])[-1]
        result = f"failed: {escape_controls(last)}"
    elif row["status"] == TrialStatus.DIVERGED:
        result = f"diverged: the loss was not finite in epoch {row['diverged_epoch']}"
    elif metric in row["metrics"]:
        result = f"{metric} = {_number(row['metrics'][metric])}"
    else:
        result = f"finished, but did not log {metric}; it logged {join_names(row['metrics'])}"
    if outcome.is_counted:
        lines = [f"{head}: {result}", f"recorded in {directory}"]
    elif outcome.was_trained:
        lines = [f"{head}: another process recorded a result first, which is kept: {result}"]
    else:
        lines = [f"{head}: not trained, since {directory} already has a result: {result}"]
    if row["status"] == TrialStatus.FAILED:
        lines.append(
            f"`ablate show {directory} {row['trial_id']}` prints the traceback, `ablate retry {directory}` makes "
            "failed trials pending again"
        )
    return "\n".join(lines)


def _print_cells(cells: Sequence[Cell], factors: Iterable[str], console: Console) -> None:
    present = [
        status
        for status in (TrialStatus.RUNNING, TrialStatus.PENDING, TrialStatus.DIVERGED, TrialStatus.FAILED)
        if any(states[status] for _, states in cells)
    ]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for factor in factors:
        table.add_column(escape(factor), overflow="fold")
    for status in (TrialStatus.FINISHED, *present):
        table.add_column(status, justify="right")
    table.add_column("")
    shown, rest = _select_cells(cells)
    for levels, states in shown:
        table.add_row(
            *map(escape, levels.values()),
            *(str(states[each]) for each in (TrialStatus.FINISHED, *present)),
            _describe_cell(states),
        )
    if shown:
        console.print(table)
    if rest:
        states_of_rest = Counter(_describe_cell(states) for _, states in rest)
        counted = ", ".join(f"{number} {mark}" for mark, number in states_of_rest.items())
        console.print(f"and {len(rest)} more cells: {counted}" if shown else f"{len(rest)} cells: {counted}")


def _select_cells(cells: Sequence[Cell]) -> tuple[Sequence[Cell], Sequence[Cell]]:
    """Return the cells to list, and the rest, which is counted."""
    if len(cells) <= _MOST_CELLS:
        return cells, []
    by_interest = sorted(
        cells,
        key=lambda cell: (
            not cell[1][TrialStatus.FAILED],
            not cell[1][TrialStatus.DIVERGED],
            _describe_cell(cell[1]) == COMPLETE,
        ),
    )
    num_shown = min(_MOST_CELLS, sum(_describe_cell(states) != COMPLETE for _, states in cells))
    return by_interest[:num_shown], by_interest[num_shown:]


def _describe_cell(states: Mapping[TrialStatus, int]) -> str:
    if states[TrialStatus.FINISHED] + states[TrialStatus.DIVERGED] < sum(states.values()):
        return "incomplete"
    return "all ended" if states[TrialStatus.DIVERGED] else COMPLETE


def _describe_repetitions(study: Study) -> str:
    """Describe the trials of a cell: seeds, folds, or folds of whole repetitions."""
    if study.num_repetitions > 1 and not study.missing_folds:
        return f"{study.folds} folds x {study.num_repetitions} repetitions"
    return f"{len(study.seeds)} {study.unit}s"


def _describe_estimable(study: Study) -> list[str]:
    names = [factor.name for factor in study.factors]
    lines = [f"each level against its reference, paired by {study.unit}: {len(study.seeds)} differences"]
    if len(study.seeds) == 1:
        more = study.folds or 5
        lines = [f"one {study.unit}: no intervals and no verdicts are possible; use --seeds {more} or more"]
    if study.folds is not None:
        lines.append(
            f"seed s trains fold s mod {study.folds}; intervals are corrected for the overlap of training sets"
        )
    if study.missing_folds:
        missing, all_folds = len(study.missing_folds), study.num_repetitions * (study.folds or 0)
        lines.append(f"{missing} of {all_folds} folds are missing, so examples are not tested equally often")
    if len(names) > 1 and study.design == "full":
        lines.append("main effects, simple effects in each context, and interactions of " + escape(", ".join(names)))
    elif len(names) > 1:
        lines.append("interactions cannot be estimated: each factor is varied with the others at their reference")
    if study.exclude:
        lines.append("excluded cells are in no contrast; a main effect uses the contexts that have both cells")
    if study.metric.margin is None:
        lines.append("no margin: no difference can be called practically equal; metric.margin sets one")
    return lines


def _describe_groups(groups: Sequence[Group]) -> list[str]:
    fused = [len(group.trials) for group in groups if group.is_fused]
    sizes = ", ".join(map(str, fused))
    lines = [f"fused: {sum(fused)} trials in groups of {sizes}"] if fused else []
    by_reason: dict[str, list[Trial]] = {}
    for group in groups:
        if group.reason_not_fusable is not None:
            by_reason.setdefault(group.reason_not_fusable, []).extend(group.trials)
    for reason, trials in by_reason.items():
        cells = list(dict.fromkeys(", ".join(f"{f}={level}" for f, level in t.levels.items()) for t in trials))
        more = f" and {len(cells) - 3} more cells" if len(cells) > 3 else ""  # noqa: PLR2004
        lines.append(f"not fused: {len(trials)} trials ({'; '.join(map(escape, cells[:3]))}{more}): {escape(reason)}")
    return lines


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else str(value)

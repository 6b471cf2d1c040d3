"""One trial of a study, trained here and recorded in a folder that other processes and machines use at the same time.

The folder's lock is held only to plan and to record, so any number of these calls may train at once. The first result
of a trial stays; whoever comes later is told so. A call that is killed leaves a trial that any other call trains.
"""

import contextlib
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import DirectoryError, InputError
from experiments.ledger.study_folder import LEDGER, TRIALS, check_folder, lock_folder, open_ledger, write_study_file
from experiments.runners import Done, Event, Raised, Said, Started, Task
from experiments.study.parse import load_study
from experiments.study.study import Study
from experiments.text import choices
from experiments.trials.trial import Group, Plan, Result, Trial, TrialStatus

from .driver import train_group
from .options import RunOptions
from .reported_epochs import ToldEpochs
from .run import check_data, check_names, data_folder, make_runner, plan, versions
from .sinks import Sink

WAIT_SECONDS = 60.0  # for others, who hold the lock for less than a second each, to plan or record
_MORE_FOR_RESULT = 10  # times as long, since a result is worth it
_LEAVING_SECONDS = 5.0  # a cluster kills soon after it asked to stop
_MOST_SHOWN = 5
_SHORTEST = 4  # of the beginning of an id: shorter ones are rather the index of a job


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOutcome:
    """What the ledger holds of a trial after a call.

    row: what `Ledger.trial` gives: status, metrics, error and the rest.
    was_trained: whether this call trained it; not where it had a result already.
    is_counted: whether the result is that of this call; not where another process recorded one first.
    """

    trial: Trial
    directory: Path
    row: Mapping[str, Any]
    was_trained: bool
    is_counted: bool

    @property
    def has_failed(self) -> bool:
        """Whether the trial's result is an error."""
        return bool(self.row["status"] == TrialStatus.FAILED)


def run_trial(
    study: Study | str | Path,
    trial: str,
    directory: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    sinks: Sequence[Sink] = (),
    wait_seconds: float = WAIT_SECONDS,
) -> TrialOutcome:
    """Train one trial of a study in this process, by itself, and record it in the folder's ledger.

    The folder's plan may grow by this study's trials, but it never loses any: that is what `run` is for.

    Arguments:
        study: a Study, or what `load_study` takes.
        trial: which one, as for `find_trial`.
        directory: the study's folder; runs/<study> by default. Many calls may share it, on all machines that see it.
        data_dir: where data sets live; the environment variable ABLATE_DATA_DIR by default, else data/.
        sinks: what else wants to know how it goes; `on_ended` comes only if the result counts.
        wait_seconds: how long to wait for others to plan or record; ten times as long to record a result.

    Raises:
        InputError: when the study, the trial, the folder or its ledger is wrong, or `run` holds the folder.
        KeyboardInterrupt: on Ctrl-C; the trial is pending again.
    """
    study = study if isinstance(study, Study) else load_study(study)
    directory = Path(directory) if directory is not None else Path("runs") / study.name
    check_names()
    check_folder(directory, study)
    with data_folder(data_dir), make_runner(RunOptions(runner="inline"), [study]) as runner:
        planned = plan(study, runner)
        chosen = find_trial(planned.trials, trial, study, directory)
        for sink in sinks:
            sink.on_data_notes(planned.notes)
        begun = _begin(study, planned, chosen, directory, wait_seconds)
        if begun.attempt is None:
            return TrialOutcome(trial=chosen, directory=directory, row=begun.row, was_trained=False, is_counted=False)
        for sink in sinks:
            sink.on_planned(begun.counts, [Group(trials=(chosen,))], runner.num_slots)
        with contextlib.ExitStack() as at_an_error:
            at_an_error.callback(_release, chosen, begun.attempt, directory)
            result = _trained(chosen, directory, runner, sinks)
            is_counted, row = _record(chosen, begun.attempt, result, directory, wait_seconds)
            at_an_error.pop_all()
    if is_counted:
        for sink in sinks:
            sink.on_ended(chosen, result)
    return TrialOutcome(trial=chosen, directory=directory, row=row, was_trained=True, is_counted=is_counted)


def find_trial(trials: Sequence[Trial], text: str, study: Study, directory: Path | None = None) -> Trial:
    """The one trial that a user means.

    Arguments:
        trials: of the plan.
        text: its id or the beginning of it, `trial=` and the id as an agent of W&B writes it, or its levels and seed as
            in "activation=relu,seed=3", as many of them as tell it from the others.
        study: whose factors the text may name.
        directory: where the trial may be one of another plan, which the message then says.

    Raises:
        InputError: when no trial or more than one is meant; the message says which trials there are.
    """
    wanted = _unquoted(text.strip().removeprefix("trial="))
    if len(wanted) < _SHORTEST and "=" not in wanted:
        raise InputError(
            f"TRIAL {text!r}: is too short for the beginning of an id, of which {_SHORTEST} characters are needed. "
            f"Levels and a seed do as well: {_example(trials[0])!r}"
        )
    found = [trial for trial in trials if trial.trial_id.startswith(wanted)]
    found = found or [trial for trial in trials if wanted in {str(trial), _example(trial)}]
    if not found and "=" in wanted:
        found = _of_levels(trials, wanted, study)
    if len(found) == 1:
        return found[0]
    if found:
        shown = "".join(f"\n  {each.trial_id}  {each}" for each in found[:_MOST_SHOWN])
        more = f"\n  and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        raise InputError(f"TRIAL {text!r}: may be any of {len(found)} trials; give more of it{shown}{more}")
    if directory is not None and _is_of_folder(wanted, directory):
        raise InputError(
            f"TRIAL {text!r}: is a trial of {directory}, but not of this plan; give the --seeds and --set with which "
            "it was planned"
        )
    beginnings = {each.trial_id[: len(wanted)]: each for each in trials}
    near = difflib.get_close_matches(wanted, beginnings, n=1)
    hint = f"did you mean {beginnings[near[0]].trial_id}? " if near else ""
    raise InputError(
        f"TRIAL {text!r}: no trial of {study.name!r} has an id that begins so; {hint}`ablate wandb sweep` lists the "
        f"{len(trials)} trials of a study with their ids. Levels and a seed do as well: {_example(trials[0])!r}"
    )


def _of_levels(trials: Sequence[Trial], text: str, study: Study) -> list[Trial]:
    """The trials that have all levels that the text names; a level's name may hold commas and equals signs."""
    names = [*(factor.name for factor in study.factors), "seed"]
    head = text.partition("=")[0].strip()
    if head not in names:
        raise InputError(f"TRIAL {text!r}: {head!r} is no factor of {study.name!r}{choices(head, names, 'factors')}")
    starts = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    parts = re.split(rf"(?:^|,)\s*({starts})\s*=", text)[1:]
    wanted = {name: level.strip() for name, level in zip(parts[::2], parts[1::2], strict=True)}
    for name, level in wanted.items():
        accepted = list(dict.fromkeys(_level(trial, name) for trial in trials))
        if level not in accepted:
            kind = "seed" if name == "seed" else f"level of {name}"
            raise InputError(f"TRIAL {text!r}: {level!r} is no {kind}{choices(level, accepted)}")
    found = [trial for trial in trials if all(_level(trial, name) == level for name, level in wanted.items())]
    if not found:
        raise InputError(f"TRIAL {text!r}: the design of {study.name!r} has no such cell")
    return found


def _level(trial: Trial, factor: str) -> str:
    return str(trial.seed) if factor == "seed" else trial.levels[factor]


def _example(trial: Trial) -> str:
    return ",".join([*(f"{factor}={level}" for factor, level in trial.levels.items()), f"seed={trial.seed}"])


def _unquoted(text: str) -> str:
    """A text without quotes that are around all of it, as a sweep has them around an id that reads as a number.

    >>> [_unquoted(text) for text in ("'12e45'", "a='q'", "x")]
    ['12e45', "a='q'", 'x']
    """
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted else text


def _is_of_folder(prefix: str, directory: Path) -> bool:
    if not (directory / LEDGER).exists():
        return False
    with contextlib.suppress(InputError), open_ledger(directory) as ledger:
        ledger.trial(prefix)
        return True
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """attempt: its number; None where the trial has a result already."""

    attempt: int | None
    row: Mapping[str, Any]
    counts: Mapping[TrialStatus, int]


def _begin(study: Study, planned: Plan, trial: Trial, directory: Path, wait_seconds: float) -> _Begun:
    with lock_folder(directory, wait_seconds=wait_seconds), open_ledger(directory, writable=True) as ledger:
        ledger.check_study(study.name)
        check_data(ledger, planned, directory)
        before = ledger.planned_ids()
        if trial.trial_id not in before:
            missing = before - {each.trial_id for each in planned.trials}
            if missing:
                raise InputError(
                    f"{directory}: holds another plan of {study.name!r}, with {len(missing)} trials that this one does "
                    "not have; give the --seeds and --set of that plan, another folder with --out, or change the plan "
                    "of the folder with `ablate run`"
                )
            content = study.to_dict()
            ledger.plan(study.name, content, planned.trials, planned.notes, planned.fingerprints, keep_running=True)
            write_study_file(directory, study)
        row = ledger.trial(trial.trial_id)
        attempt = None
        if not TrialStatus(row["status"]).is_finished:
            attempt = ledger.start(trial.trial_id, versions())
        return _Begun(attempt=attempt, row=row, counts=ledger.counts())


def _trained(trial: Trial, directory: Path, runner: Any, sinks: Sequence[Sink]) -> Result:
    outcome: list[Event] = []
    told = ToldEpochs()

    def handle(event: Event) -> None:
        if isinstance(event, Started):
            for sink in sinks:
                sink.on_started(trial)
        elif isinstance(event, Said):
            told.add(event.message)
            for sink in sinks:
                sink.on_epoch_ended(trial, event.message)
        else:
            outcome.append(event)

    argument = (Group(trials=(trial,)), directory.absolute() / TRIALS)
    runner.run([Task(key=trial.trial_id, function=train_group, argument=argument)], handle)
    (event,) = outcome
    if isinstance(event, Done):
        return told.completed(trial.trial_id, dict(event.value)[trial.trial_id])
    error = event.traceback if isinstance(event, Raised) else repr(event)
    return told.completed(trial.trial_id, Result(status=TrialStatus.FAILED, error=error))


def _record(
    trial: Trial, attempt: int, result: Result, directory: Path, wait_seconds: float
) -> tuple[bool, dict[str, Any]]:
    try:
        with (
            lock_folder(directory, wait_seconds=_MORE_FOR_RESULT * wait_seconds),
            open_ledger(directory, writable=True) as ledger,
        ):
            is_counted = ledger.record_attempt(trial.trial_id, attempt, result)
            return is_counted, ledger.trial(trial.trial_id)
    except DirectoryError as error:
        raise DirectoryError(f"{trial.trial_id} ended as {result.status} but is not recorded: {error}") from error


def _release(trial: Trial, attempt: int, directory: Path) -> None:
    """Best effort: what is not released looks like a trial that was cut off, which any call trains."""
    with (
        contextlib.suppress(InputError),
        lock_folder(directory, wait_seconds=_LEAVING_SECONDS),
        open_ledger(directory, writable=True) as ledger,
    ):
        ledger.release(trial.trial_id, attempt)

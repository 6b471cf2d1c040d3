"""The loop: a study's pending trials go to a runner, and what comes back goes to the sinks, the ledger first."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .errors import DirectoryError, InputError, StudyError, choices
from .folder import LEDGER, check_folder, write_study_file, writing
from .ledger import Ledger
from .runners import Done, Event, InlineRunner, LocalRunner, Lost, Raised, Runner, Said, Started, Task
from .study import Study
from .study_file import load_study
from .trial import FAILED, EpochEnded, Result, Trial

RUNNERS = ("local", "inline")


class Sink(Protocol):
    """Something that watches a study being run, in the command's own process: a progress bar, a dashboard."""

    def planned(self, counts: Mapping[str, int], trials: Sequence[Trial], num_places: int) -> None:
        """Trials by status before anything runs, the trials that will be trained now, and how many at a time."""

    def started(self, trial: Trial) -> None:
        """A trial has a place."""

    def epoch_ended(self, trial: Trial, event: EpochEnded) -> None:
        """An epoch is over."""

    def ended(self, trial: Trial, result: Result) -> None:
        """A trial is over and its result is on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run leaves: the folder, the planned trials by status, and how many were trained just now."""

    directory: Path
    counts: Mapping[str, int]
    num_trained: int


def run(
    study: Study | str | Path,
    directory: str | Path | None = None,
    *,
    runner: str = "local",
    workers: int | None = None,
    data_dir: str | Path | None = None,
    sinks: Sequence[Sink] = (),
) -> Outcome:
    """Train what a study still lacks, and record it in the folder's ledger.

    Arguments:
        study: a Study, or what `load_study` takes.
        directory: the study's folder; runs/<study> by default. A folder that has trials of this study is continued.
        runner: local (worker processes, one a GPU or a core) or inline (this process).
        workers: how many worker processes instead.
        data_dir: where data sets live; the environment variable ABLATE_DATA_DIR by default, else data/.
        sinks: what else wants to know how it goes.

    Raises:
        InputError: when the study, the folder or its ledger is wrong; nothing was written then.
        KeyboardInterrupt: on Ctrl-C; every finished trial is on disk, and the same call continues.
    """
    study = study if isinstance(study, Study) else load_study(study)
    directory = Path(directory) if directory is not None else Path("runs") / study.name
    if data_dir is not None:
        os.environ["ABLATE_DATA_DIR"] = str(Path(data_dir).absolute())
    check_folder(directory, study)
    with make_runner(runner, study, workers) as places:
        trials = plan(study, places)
        with writing(directory), Ledger(directory / LEDGER, writable=True) as ledger:
            check_folder(directory, study)  # again, now that no other command can change it
            ledger.plan(study.name, study.to_dict(), trials)
            write_study_file(directory, study)
            places.log_to(directory / "logs")
            num_trained = _train_pending(ledger, places, directory, sinks)
            return Outcome(directory=directory, counts=ledger.counts(), num_trained=num_trained)


def make_runner(name: str, study: Study, workers: int | None = None) -> Runner:
    """The runner of this name, warmed up for the study's classes.

    Raises:
        InputError: when there is no such runner, or workers is below 1.
    """
    if name not in RUNNERS:
        raise InputError(f"--runner {name!r} is not a runner{choices(name, RUNNERS)}")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: at least 1 is needed")
    if name == "inline":
        return InlineRunner()
    return LocalRunner(workers, preload=["experiments.train", "experiments.plan", *_modules(study)])


def plan(study: Study, runner: Runner) -> list[Trial]:
    """The study's trials, resolved by one of the runner's places, since that imports torch and the user's classes.

    Raises:
        StudyError: with every problem of the study.
    """
    from_worker: list[Event] = []
    runner.run([Task(key="plan", function=_plan, argument=study)], from_worker.append)
    last = from_worker[-1]
    if isinstance(last, Done):
        trials: list[Trial] = last.value
        return trials
    if isinstance(last, Raised) and isinstance(last.error, InputError):
        raise last.error
    if isinstance(last, Lost):
        hint = "; a script that calls run() needs `if __name__ == '__main__':` around it"
        raise InputError(f"{study.source}: the study could not be planned: {last.reason}{hint}")
    raise InputError(f"{study.source}: the study could not be planned: {getattr(last, 'traceback', '')}")


def _plan(study: Study, emit: Any) -> list[Trial]:
    from .plan import plan_trials

    return plan_trials(study, emit)


def _train(training: Any, emit: Any) -> Result:
    from .train import Training, train_trial

    return train_trial(Training(**training), emit)


def _train_pending(ledger: Ledger, runner: Runner, directory: Path, sinks: Sequence[Sink]) -> int:
    """Train the pending trials, one transaction a result, and return how many ended."""
    pending = {trial.trial_id: trial for trial in ledger.pending()}
    versions = _versions()
    num_ended = 0

    def handle(event: Event) -> None:
        nonlocal num_ended
        trial = pending[event.key]
        if isinstance(event, Started):
            ledger.start(trial.trial_id, versions)
            for sink in sinks:
                sink.started(trial)
        elif isinstance(event, Said):
            for sink in sinks:
                sink.epoch_ended(trial, event.message)
        else:
            result = _result(event)
            ledger.record(trial.trial_id, result)
            num_ended += 1
            for sink in sinks:
                sink.ended(trial, result)

    def tasks() -> Iterator[Task]:
        for trial in pending.values():
            argument = {"trial": trial, "directory": directory.absolute() / "trials"}
            yield Task(key=trial.trial_id, function=_train, argument=argument)

    for sink in sinks:
        sink.planned(ledger.counts(), list(pending.values()), runner.num_places)
    try:
        runner.run(tasks(), handle)
    finally:
        ledger.release()
    return num_ended


def _result(event: Done | Raised | Lost) -> Result:
    if isinstance(event, Done):
        result: Result = event.value
        return result
    return Result(status=FAILED, error=event.reason if isinstance(event, Lost) else event.traceback)


def _modules(study: Study) -> list[str]:
    """The modules of every class_path in a study, for a fork server to import once."""
    found: dict[str, None] = {}

    def look(node: Any) -> None:
        if isinstance(node, dict):
            path = node.get("class_path")
            if isinstance(path, str) and "." in path:
                found[path.rpartition(".")[0]] = None
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)

    look(study.to_dict())
    return list(found)


def _versions() -> str:
    """What trains, as JSON, for the ledger."""
    names = ("torch", "lightning", "numpy", "ablation-suite")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return json.dumps(found)


__all__ = ["RUNNERS", "DirectoryError", "Outcome", "Sink", "StudyError", "make_runner", "plan", "run"]

"""Run of a study: check, plan, group, train what is pending."""

import contextlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablation_suite.names import find_clash
from experiments.errors import InputError
from experiments.ledger.ledger import Ledger
from experiments.ledger.study_folder import LOGS, TRIALS, check_folder, lock_folder, open_ledger, write_study_file
from experiments.runners import (
    Done,
    Event,
    InlineRunner,
    LocalRunner,
    Lost,
    Raised,
    RayRunner,
    Runner,
    Task,
)
from experiments.study.parse import load_study
from experiments.study.study import Study
from experiments.text import join_names
from experiments.trials.trial import Group, Plan, Trial, TrialStatus

from .driver import Driver
from .options import RunOptions
from .sinks import Sink

DATA_DIR = "ABLATE_DATA_DIR"
_MAX_PLAN_ATTEMPTS = 3  # a worker that is lost while it plans may be the machine's fault
_MAX_REASONS = 10  # in an error's message


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of a run.

    directory: the study's folder.
    counts: number of planned trials by status.
    num_trained: number of trials trained by this call.
    """

    directory: Path
    counts: Mapping[TrialStatus, int]
    num_trained: int


def run(
    study: Study | str | Path,
    directory: str | Path | None = None,
    options: RunOptions = RunOptions(),  # noqa: B008 -- frozen
    sinks: Sequence[Sink] = (),
) -> Outcome:
    """Train the trials of a study that have no result yet, and record them in the folder's ledger.

    Args:
        study: a Study, or what `load_study` takes.
        directory: the study's folder; runs/<study> by default. A folder that has trials of this study is continued.
        options: runner, workers, fusing, retries, data folder.
        sinks: observers of the run.

    Returns:
        The folder, and the number of trials by status.

    Raises:
        InputError: the study, the folder or its ledger is wrong; nothing was written then. With fuse="always" also
            when the first steps of a group show that it cannot be fused; trials that had ended are on disk.
        KeyboardInterrupt: on Ctrl-C; every finished trial is on disk, and the same call continues.
    """
    study = study if isinstance(study, Study) else load_study(study)
    directory = Path(directory) if directory is not None else Path("runs") / study.name
    check_names()
    check_folder(directory, study)
    with use_data_dir(options.data_dir), make_runner(options, [study]) as runner:
        return run_on(runner, study, directory, options, sinks)


def run_on(runner: Runner, study: Study, directory: Path, options: RunOptions, sinks: Sequence[Sink] = ()) -> Outcome:
    """Run a study on a started runner, which may serve several studies in turn and imports once for all of them.

    The caller has checked the folder (`check_folder`) and set the data folder (`use_data_dir`).
    """
    plan = plan_on(runner, study)
    groups = group_on(runner, plan.trials, options.fuse)  # before anything is written: `fuse: always` may refuse
    for sink in sinks:
        sink.on_data_notes(plan.notes)

    def send_waiting(message: str) -> None:
        for sink in sinks:
            sink.on_waiting(message)

    wait = send_waiting if options.wait_for_folder else None
    with lock_folder(directory, wait), open_ledger(directory, writable=True) as ledger:
        ledger.check_study(study.name)
        check_data(ledger, plan, directory)
        ledger.plan(study.name, study.to_dict(), plan.trials, plan.notes, plan.fingerprints)
        write_study_file(directory, study)
        runner.redirect_output(directory / LOGS)
        driver = Driver(ledger, directory.absolute() / TRIALS, sinks, read_versions(), options)
        driver.train(_keep_pending(groups, ledger), runner)
        return Outcome(directory=directory, counts=ledger.counts(), num_trained=driver.num_ended)


@contextlib.contextmanager
def use_data_dir(data_dir: str | Path | None) -> Iterator[None]:
    """Set the environment variable from which data modules read the data folder, and restore it; None changes nothing.

    Raises:
        InputError: it is not a folder.
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise InputError(f"--data-dir {data_dir}: is not a folder")
    before = os.environ.get(DATA_DIR)
    if data_dir is not None:
        os.environ[DATA_DIR] = str(Path(data_dir).absolute())
    try:
        yield
    finally:
        if data_dir is not None:
            os.environ.pop(DATA_DIR, None)
            os.environ |= {} if before is None else {DATA_DIR: before}


def check_names() -> None:
    """Raise an InputError if a user's file has the name of one of the suite's packages: workers would import it."""
    if (clash := find_clash()) is not None:
        raise InputError(clash)


def check_data(ledger: Ledger, plan: Plan, directory: Path) -> None:
    """Raise an InputError if trials were trained on data that have changed since: their results cannot be compared."""
    before = ledger.fingerprints()
    changed = [source for source, now in plan.fingerprints.items() if before.get(source, now) != now]
    if changed and ledger.has_results():
        raise InputError(
            f"{directory}: {join_names(changed)} changed since trials of this folder were trained; give another folder "
            "with --out, or restore the data"
        )


def make_runner(options: RunOptions, studies: Sequence[Study]) -> Runner:
    """Make a runner whose workers import the classes of these studies when they start.

    Raises:
        InputError: a device is not there.
    """
    if options.runner == "inline":
        return InlineRunner()
    ours = ["ablation_suite", "experiments.planning.plan", "experiments.training.train", "experiments.fusing"]
    preload = list(dict.fromkeys([*ours, *(module for study in studies for module in _find_modules(study))]))
    if options.runner == "ray":
        return RayRunner(options.address, options.num_slots, preload)
    try:
        return LocalRunner(options.num_slots, preload, options.devices)
    except ValueError as error:
        raise InputError(f"--devices {','.join(options.devices or ())}: {error}") from None


def plan_on(runner: Runner, study: Study) -> Plan:
    """Plan a study in one of the runner's workers, since planning imports torch and the user's classes.

    Raises:
        StudyError: with every problem of the study.
    """
    plan: Plan = _call(runner, Task(key="plan", function=_plan, argument=study, prefer_local_machine=True))
    return plan


def group_on(runner: Runner, trials: Sequence[Trial], fuse: str) -> list[Group]:
    """Group trials of the same structure in one of the runner's workers.

    Args:
        runner: the runner that will train them.
        trials: all trials to group.
        fuse: auto, always or never.

    Raises:
        InputError: with fuse="always", when a trial cannot be fused; the message says why.
    """
    by_seed = sorted(trials, key=lambda trial: trial.seed)  # stable: pairs are complete early, and share their batches
    if fuse == "never":
        return [Group(trials=(trial,)) for trial in by_seed]
    argument = (by_seed, runner.num_slots, fuse == "auto")
    groups: list[Group] = _call(
        runner, Task(key="group", function=_group, argument=argument, prefer_local_machine=True)
    )
    unfused = [group for group in groups if group.reason_not_fusable is not None]
    if fuse == "always" and unfused:
        reasons = "\n".join(f"{group.trials[0]}: {group.reason_not_fusable}" for group in unfused[:_MAX_REASONS])
        raise InputError(f"--fuse always: {len(unfused)} of {len(trials)} trials cannot be fused\n{reasons}")
    return groups


def _keep_pending(groups: Sequence[Group], ledger: Ledger) -> list[Group]:
    """Return the groups without trials that have ended.

    Groups are made of all trials and not of the pending ones, so that a command that continues trains the same groups:
    in single precision, results depend on the group by rounding.
    """
    pending = {trial.trial_id for trial in ledger.pending()}
    kept = [replace(group, trials=tuple(t for t in group.trials if t.trial_id in pending)) for group in groups]
    return [group for group in kept if group.trials]


def _call(runner: Runner, task: Task) -> Any:
    """Return the value of a task that has to succeed before anything is trained."""
    events: list[Event] = []
    for _ in range(_MAX_PLAN_ATTEMPTS):
        runner.run([task], events.append)
        if not isinstance(events[-1], Lost):
            break
    last = events[-1]
    if isinstance(last, Done):
        return last.value
    if isinstance(last, Raised) and isinstance(last.error, InputError):
        raise last.error
    if isinstance(last, Lost):
        hint = (
            "; the constructor of a class may have ended the process, or your script may have when a worker imported "
            "it: see the error above. A script needs `if __name__ == '__main__':` around run()"
        )
        raise InputError(f"the study could not be planned: {last.reason}{hint}")
    raise InputError(f"the study could not be planned: {getattr(last, 'traceback', '')}")


def _group(argument: tuple[list[Trial], int, bool], emit: Any) -> list[Group]:  # noqa: ARG001 -- signature of a task
    from experiments.fusing import group_trials
    from experiments.training.caller_state import preserve_caller_state

    trials, num_slots, only_where_faster = argument
    with preserve_caller_state():
        return group_trials(trials, num_slots, only_where_faster=only_where_faster)


def _plan(study: Study, emit: Any) -> Plan:
    from experiments.planning.plan import plan_study
    from experiments.training.caller_state import preserve_caller_state

    with preserve_caller_state():
        return plan_study(study, emit)


def _find_modules(study: Study) -> list[str]:
    """Return the module of every class_path in a study."""
    modules: dict[str, None] = {}

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            path = node.get("class_path")
            if isinstance(path, str) and "." in path:
                modules[path.rpartition(".")[0]] = None
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(study.to_dict())
    return list(modules)


def read_versions() -> str:
    """Return the versions of Python and of the packages that train, as JSON for the ledger."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "lightning", "numpy", "ablation-suite"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return json.dumps(versions)

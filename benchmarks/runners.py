"""Overhead of running: the runner, the driver and its ledger, planning; and how workers scale.

    python benchmarks/runners.py --repeats 3

Nothing is trained. Tasks do nothing, or arithmetic in Python, and results are synthetic.
"""

import argparse
import gc
import importlib.metadata
import itertools
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from experiments import Ledger, RunOptions, Sink, parse_study
from experiments.execution.driver import Driver
from experiments.execution.run import group_on, make_runner, plan_on
from experiments.runners import Done, Event, LocalRunner, Runner, Started, Task
from experiments.study.study import Study
from experiments.trials.trial import Group, Result, Trial, TrialStatus, create_trials

NUM_EPOCHS = 10
RESULT = Result(
    status=TrialStatus.FINISHED,
    metrics=dict.fromkeys(("train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc"), 0.5),
    epochs=tuple(dict.fromkeys(("train/loss", "train/acc", "val/loss", "val/acc"), 0.5) for _ in range(NUM_EPOCHS)),
    seconds=1.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Numbers of tasks, trials and cells to measure."""

    num_tasks: int = 2_000
    num_trials: int = 10_000
    num_cells: int = 1_000
    num_work_tasks: int = 24
    work: int = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table: the quantity, its unit and its goal."""

    what: str
    unit: str
    goal: str
    measure: Callable[[], float]


class InstantRunner:
    """Runner whose tasks are done once all slots have one, so that only the driver is measured."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def redirect_output(self, directory: Path) -> None:
        """Ignore the folder: nothing is printed."""

    def run(self, tasks: Iterable[Task], handle: Callable[[Event], None]) -> None:
        """See Runner.run."""
        tasks = iter(tasks)
        while begun := list(itertools.islice(tasks, self.num_slots)):
            for task in begun:
                handle(Started(key=task.key))
            for task in begun:
                handle(Done(key=task.key, value=[(trial.trial_id, RESULT) for trial in task.argument[0].trials]))


def nothing(argument: Any, emit: Any) -> None:
    """Do nothing."""


def work(number: int, emit: Any) -> int:  # noqa: ARG001
    """Keep one core busy, without memory."""
    total = 0
    for each in range(number):
        total += each & 7
    return total


def ms_a_task(runner: Runner, num_tasks: int) -> float:
    """Measure the milliseconds of a warm runner per task that does nothing."""
    tasks = [Task(key=str(number), function=nothing, argument=None) for number in range(num_tasks)]
    with runner:
        runner.run(tasks[: runner.num_slots], _ignore)
        started = time.perf_counter()
        runner.run(tasks, _ignore)
        return (time.perf_counter() - started) / num_tasks * 1000


def times_as_fast(num_slots: int, size: Size) -> float:
    """Measure how many times as fast this many workers are as one, in processor-bound tasks."""
    seconds = []
    for number in (1, num_slots):
        tasks = [Task(key=str(key), function=work, argument=size.work) for key in range(size.num_work_tasks)]
        with LocalRunner(number) as runner:
            runner.run([Task(key=str(key), function=nothing, argument=None) for key in range(number)], _ignore)
            started = time.perf_counter()
            runner.run(tasks, _ignore)
            seconds.append(time.perf_counter() - started)
    return seconds[0] / seconds[1]


def trials_of(num_trials: int, num_seeds: int = 10) -> list[Trial]:
    """Build the trials of a synthetic study."""
    trials: list[Trial] = []
    for cell in range(-(-num_trials // num_seeds)):
        model = {"class_path": "lit_models.MLP", "init_args": {"hidden": [cell]}}
        config = {"model": model, "data": {"class_path": "datamodules.Digits"}, "trainer": {"max_epochs": NUM_EPOCHS}}
        trials += create_trials(config, {"hidden": str(cell)}, range(num_seeds))
    return trials[:num_trials]


def driven(num_trials: int, num_slots: int, at: Callable[[int], None] | None = None) -> float:
    """Measure the seconds in which a driver records finished trials, each on disk before the next is requested.

    Args:
        num_trials: each in a separate group.
        num_slots: trials that end at the same time.
        at: called after each trial with the number that have ended.
    """
    trials = trials_of(num_trials)

    class Counts(Sink):
        """Sink that counts trials."""

        num_ended = 0

        def on_ended(self, trial: Trial, result: Result) -> None:
            self.num_ended += 1
            if at is not None:
                at(self.num_ended)

    with (
        tempfile.TemporaryDirectory(dir=".") as folder,
        Ledger(Path(folder) / "ledger.sqlite", writable=True) as ledger,
    ):
        ledger.plan("runners", {}, trials)
        groups = [Group(trials=(trial,)) for trial in trials]
        driver = Driver(ledger, Path(folder), [Counts()], "{}", RunOptions())
        started = time.perf_counter()
        driver.train(groups, InstantRunner(num_slots))
        seconds = time.perf_counter() - started
        if ledger.counts()[TrialStatus.FINISHED] != num_trials:
            raise SystemExit("trials are missing in the ledger")
        return seconds


def trials_a_second(num_trials: int, num_slots: int) -> float:
    """Measure the finished trials that a driver records per second."""
    return num_trials / driven(num_trials, num_slots)


def growth_mb(num_trials: int) -> float:
    """Measure the MB by which the driver's process grows from the first tenth of its trials to the last."""
    process = psutil.Process()
    found: list[int] = []

    def look(num_ended: int) -> None:
        if num_ended in (num_trials // 10, num_trials):
            gc.collect()
            found.append(process.memory_info().rss)

    driven(num_trials, 1, look)
    return (found[1] - found[0]) / 2**20


def plan_seconds(num_cells: int) -> float:
    """Measure the seconds to check and resolve ten trials per cell, add them to a ledger and read the pending ones."""
    study = grid(num_cells)
    with make_runner(RunOptions(num_slots=1), [study]) as runner, tempfile.TemporaryDirectory(dir=".") as folder:
        plan_on(runner, grid(8))  # imported once
        started = time.perf_counter()
        planned = plan_on(runner, study)
        with Ledger(Path(folder) / "ledger.sqlite", writable=True) as ledger:
            ledger.plan(study.name, study.to_dict(), planned.trials, planned.notes, planned.fingerprints)
            pending = ledger.pending()
        groups = group_on(runner, planned.trials, "never")
        seconds = time.perf_counter() - started
    if len(pending) != len(groups) or len(groups) < num_cells * 10:
        raise SystemExit(f"{len(pending)} trials are pending, not {num_cells * 10}")
    return seconds


def grid(num_cells: int) -> Study:
    """Build a study of at least this many cells in three factors with about equally many levels."""
    base = {
        "model": {"class_path": "lit_models.MLP", "init_args": {"hidden": [8]}},
        "data": {"class_path": "datamodules.Digits"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    num_levels = max(2, math.ceil(num_cells ** (1 / 3) - 1e-9))
    numbers = range(1, num_levels + 1)
    content = {
        "question": "How long does it take to plan?",
        "base": base,
        "factors": {
            "hidden": {"key": "model.init_args.hidden", "levels": {str(number): [number] for number in numbers}},
            "dropout": {"key": "model.init_args.dropout", "levels": [number / 100 for number in numbers]},
            "batch_size": {"key": "data.init_args.batch_size", "levels": [8 * number for number in numbers]},
        },
        "seeds": 10,
        "metric": {"name": "test/acc"},
    }
    return parse_study(content, name="runners")


def rows(size: Size) -> list[Row]:
    """Return the rows to measure."""
    return [
        Row(
            what="local runner, a task that does nothing, 1 worker",
            unit="ms",
            goal="under 10",
            measure=lambda: ms_a_task(LocalRunner(1), size.num_tasks),
        ),
        Row(
            what=f"check, resolve and add {size.num_cells * 10:,} trials of {size.num_cells:,} cells",
            unit="s",
            goal="under 10",
            measure=lambda: plan_seconds(size.num_cells),
        ),
        *(
            Row(
                what=f"driver and ledger, trials of {NUM_EPOCHS} epochs taken in, {num_slots} at a time",
                unit="a second",
                goal="500 or more",
                measure=partial(trials_a_second, size.num_trials, num_slots),
            )
            for num_slots in (1, 4, 16)
        ),
        Row(
            what=f"growth of the driver over {size.num_trials:,} trials",
            unit="MB",
            goal="flat",
            measure=lambda: growth_mb(size.num_trials),
        ),
        Row(
            what="2 workers against 1, in arithmetic",
            unit="times",
            goal="1.8 or more",
            measure=lambda: times_as_fast(2, size),
        ),
    ]


def table(measured: Sequence[tuple[Row, Sequence[float]]]) -> list[str]:
    """Format the lines of the table: medians over the repeats, with the range."""
    lines = ["| what | goal | median (min to max) |", "|---|---|---|"]
    for row, values in measured:
        lines.append(f"| {row.what}, {row.unit} | {row.goal} | {_shown(values)} |")
    return lines


def _shown(values: Sequence[float]) -> str:
    median = f"{statistics.median(values):,.2f}"
    return median if len(values) == 1 else f"{median} ({min(values):,.2f} to {max(values):,.2f})"


def _ignore(event: Event) -> None:
    """Ignore an event."""


def main(arguments: Sequence[str] | None = None, size: Size | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="default: %(default)s")
    repeats = parser.parse_args(arguments).repeats
    measured = [(row, [row.measure() for _ in range(repeats)]) for row in rows(size or Size())]
    cores = (
        len(psutil.Process().cpu_affinity() or []) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count()
    )
    versions = f"torch {importlib.metadata.version('torch')}, lightning {importlib.metadata.version('lightning')}"
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, {versions}; turns: {repeats}\n")
    print("\n".join(table(measured)))


if __name__ == "__main__":
    main()

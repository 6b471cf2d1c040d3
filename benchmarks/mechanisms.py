"""Overhead of `mechanisms: all`: the same trials with and without it, unfused and fused, in turn.

    ABLATE_DATA_DIR=... python benchmarks/mechanisms.py --repeats 7
    python benchmarks/mechanisms.py --settings digits --repeats 15

Seconds are processor time of training and testing in one process with one thread, after an uncounted turn. They exclude
starting, planning and reporting, which are the same. A ratio compares two runs of one turn; which way runs first
alternates. Other work on the machine disturbs that ratio more than the ratio within a single training, the time of the
measuring calls over the rest. The latter decides.
"""

import argparse
import contextlib
import copy
import importlib.metadata
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ways import spread

GOAL = 10.0  # percent

SETTINGS: dict[str, dict[str, Any]] = {
    "mnist": {
        "model": {"hidden": [128, 128, 128]},
        "data": {"class_path": "datamodules.MNIST", "init_args": {"batch_size": 128}},
        "epochs": 3,
        "seeds": 2,
    },
    "digits": {
        "model": {"hidden": [64, 64]},
        "data": {"class_path": "datamodules.Digits", "init_args": {"batch_size": 32}},
        "epochs": 8,
        "seeds": 5,
    },
}
FACTORS = {
    "activation": {"key": "model.init_args.activation", "levels": ["sigmoid", "tanh", "relu"]},
    "init": {"key": "model.init_args.init", "levels": ["xavier", "he"]},
}


def study_content(setting: str, mechanisms: Any) -> dict[str, Any]:
    """Return the quickstart's factors in a setting, as the content of a study file."""
    given = SETTINGS[setting]
    content: dict[str, Any] = {
        "question": "What does it cost?",
        "base": {
            "model": {"class_path": "lit_models.MLP", "init_args": given["model"]},
            "data": given["data"],
            "trainer": {"max_epochs": given["epochs"], "accelerator": "cpu"},
        },
        "factors": copy.deepcopy(FACTORS),
        "seeds": given["seeds"],
        "metric": {"name": "test/acc"},
    }
    return content if mechanisms is None else content | {"mechanisms": mechanisms}


CALLS = {
    "unfused": (
        "on_train_start",
        "on_train_batch_start",
        "on_train_batch_end",
        "on_validation_start",
        "on_validation_batch_end",
        "on_validation_end",
        "on_train_epoch_end",
    ),
    "fused": ("__init__", "before_last_step", "after_last_step", "compute_metrics"),
}
"""Measuring methods: of the callback for one trial, and of its replacement for a group."""


@contextlib.contextmanager
def timed_calls(way: str) -> Iterator[list[float]]:
    """Yield a list that collects the processor seconds of each measuring call."""
    from experiments.fusing.fit.fused_mechanisms import FusedMechanisms
    from experiments.mechanisms import Mechanisms

    owner: Any = Mechanisms if way == "unfused" else FusedMechanisms
    seconds: list[float] = []

    def timed(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return real(*arguments, **named)
            finally:
                seconds.append(time.process_time() - started)

        return call

    before = {name: getattr(owner, name) for name in CALLS[way]}
    for name, real in before.items():
        setattr(owner, name, timed(real))
    try:
        yield seconds
    finally:
        for name, real in before.items():
            setattr(owner, name, real)


def seconds_of(setting: str, way: str, mechanisms: Any) -> tuple[float, float]:
    """Return processor seconds of training and of the measuring calls: unfused, one trial; fused, all in a group."""
    from experiments import parse_study
    from experiments.fusing import train_in_one_loop
    from experiments.planning.plan import plan_trials
    from experiments.training.train import Training, train_trial

    trials = plan_trials(parse_study(study_content(setting, mechanisms)))
    with tempfile.TemporaryDirectory() as folder, timed_calls(way) as inside:
        started = time.process_time()
        if way == "fused":
            results = [*train_in_one_loop(trials, _ignore).values()]
        else:
            results = [train_trial(Training(trial=trials[0], directory=Path(folder)), _ignore)]
        seconds = time.process_time() - started
    if any(result.error for result in results):
        raise RuntimeError(next(result.error for result in results if result.error))
    return seconds, sum(inside)


def _ignore(event: Any) -> None:
    """Discard reported epochs."""


def measured(setting: str, way: str, mechanisms: Any, repeats: int) -> list[tuple[float, float, float]]:
    """Measure each turn: seconds without, with, and of the measuring calls; which way runs first alternates."""
    turns = []
    for turn in range(repeats + 1):
        order = [None, mechanisms] if turn % 2 else [mechanisms, None]
        seconds = {id(each): seconds_of(setting, way, each) for each in order}
        turns.append((seconds[id(None)][0], *seconds[id(mechanisms)]))
        without, with_it, inside = turns[-1]
        told = f"{setting}, {way}: {without:.2f} s without, {with_it:.2f} with, {inside:.2f} in calls that measure"
        print(told, file=sys.stderr, flush=True)
    return turns[1:]


def shares(turns: Sequence[tuple[float, float, float]]) -> list[float]:
    """Return the time of the measuring calls over the rest of the same training, in percent.

    >>> shares([(1.0, 1.25, 0.25)])
    [25.0]
    """
    return [100 * inside / (with_it - inside) for _, with_it, inside in turns]


def cost_row(setting: str, way: str, turns: Sequence[tuple[float, float, float]]) -> str:
    """Format one row of the table.

    >>> cost_row("digits", "unfused", [(1.0, 1.25, 0.25), (2.0, 2.5, 0.5), (1.0, 1.5, 0.3)])
    '| digits | unfused | 1.00 (1.00 to 2.00) | 1.50 (1.25 to 2.50) | 25.0 (25.0 to 50.0) | 25.0 (25.0 to 25.0) |'
    """
    without, with_it, _ = zip(*turns, strict=True)
    more = [100 * (on / off - 1) for off, on, _ in turns]
    columns = (spread(without, 2), spread(with_it, 2), spread(more), spread(shares(turns)))
    return f"| {setting} | {way} | {' | '.join(columns)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--settings", nargs="+", choices=[*SETTINGS], default=[*SETTINGS])
    parser.add_argument("--ways", nargs="+", choices=["unfused", "fused"], default=["unfused", "fused"])
    parser.add_argument("--measure", nargs="+", help="quantities (default: all)")
    parsed = parser.parse_args(arguments)
    mechanisms = parsed.measure or "all"
    rows, medians = [], []
    for setting in parsed.settings:
        for way in parsed.ways:
            turns = measured(setting, way, mechanisms, parsed.repeats)
            rows.append(cost_row(setting, way, turns))
            medians.append(statistics.median(shares(turns)))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "lightning"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}, ", end="")
    print(f"{datetime.now(UTC).date()}; mechanisms: {mechanisms}, turns: {parsed.repeats}\n")
    head = ("setting", "trained", "seconds without: median (min to max)", "with", "% more", "calls over all else, %")
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    print(*rows, sep="\n")
    print(f"\nat most {max(medians):.1f} % in the median of a setting, by calls (the goal is below {GOAL:.0f} %)")


if __name__ == "__main__":
    main()

"""Time and memory of `ablate status` and `ablate report` on ledgers of 1,000 to 100,000 trials.

    python benchmarks/ledger_growth.py
    python benchmarks/ledger_growth.py --trials 1000 100000 --repeats 3 --keep ledgers

Nothing is trained: the ledgers are filled through `Ledger` with synthetic numbers of three factors and 100 seeds, 20
epochs per trial and 4 metrics per epoch. Each command is a separate process, so its seconds include the start of Python
and all imports. Peak memory is VmHWM, the largest resident set (Linux only). The last column falls while the start is
most of the time, then levels off: the time of a report is proportional to its trials.
"""

import argparse
import contextlib
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from commands import num_cores
from ways import spread

from experiments import Ledger, Result, Study, TrialStatus, build_cells, parse_study
from experiments.trials.trial import create_trials

SHAPES = {  # trials: levels of the three factors, with 100 seeds
    1_000: (5, 2, 1),
    3_000: (5, 3, 2),
    10_000: (5, 5, 4),
    30_000: (10, 6, 5),
    100_000: (10, 10, 10),
}
NUM_SEEDS = 100
COMMANDS = ("status", "report")
_NUM_EPOCHS = 20
_AT_ONCE = 1_000  # trials per transaction
_RUN = """
import pathlib, sys
from ablate.commands import main
code = main(sys.argv[1:])
status = pathlib.Path("/proc/self/status")
print(status.read_text() if status.exists() else "", file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Time and memory of one command: `peak_kb` is the largest resident set in kB, None if the system lacks it."""

    seconds: float
    peak_kb: int | None


def main() -> None:
    """Make the ledgers, run the commands on each, and print one table."""
    arguments = _arguments()
    turns: dict[int, dict[str, list[Took]]] = {}
    sizes: dict[int, int] = {}
    with contextlib.ExitStack() as undo:
        root = arguments.keep or Path(undo.enter_context(tempfile.TemporaryDirectory()))
        for number in arguments.trials:
            directory = root / f"trials-{number}"
            if not directory.exists():
                started = time.perf_counter()
                make_ledger(directory, grid_study(SHAPES[number], NUM_SEEDS))
                print(f"{number} trials made in {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
            sizes[number] = (directory / "ledger.sqlite").stat().st_size
            turns[number] = {command: [] for command in COMMANDS}
            for turn in range(1, arguments.repeats + 1):
                for command in COMMANDS:
                    took = measure(command, directory)
                    turns[number][command].append(took)
                    print(f"turn {turn}: {number} {command} {took.seconds:.2f} s", file=sys.stderr, flush=True)
    print(f"\n{_circumstances()}, turns: {arguments.repeats}\n")
    print(*growth_table(turns, sizes), sep="\n")


def grid_study(levels: Sequence[int], num_seeds: int) -> Study:
    """Build a study whose factors f0, f1, ... have these numbers of levels; factors of one level are left out."""
    return parse_study(
        {
            "name": "grid",
            "question": "How does a report grow with its study?",
            "base": {"model": {"class_path": "M"}, "data": {"class_path": "D"}, "trainer": {"max_epochs": _NUM_EPOCHS}},
            "factors": {
                f"f{place}": {
                    "key": f"model.init_args.f{place}",
                    "levels": [f"level{level}" for level in range(number)],
                }
                for place, number in enumerate(levels)
                if number > 1
            },
            "seeds": num_seeds,
            "metric": {"name": "test/acc", "goal": "max", "margin": 0.005},
        }
    )


def make_ledger(directory: Path, study: Study) -> None:
    """Write a folder with a ledger in which every trial has finished; its synthetic numbers are the same each time."""
    directory.mkdir(parents=True)
    path = directory / "ledger.sqlite"
    trials = [trial for cell in build_cells(study) for trial in create_trials(cell.config, cell.levels, study.seeds)]
    with Ledger(path, writable=True) as ledger:
        ledger.plan(study.name, study.to_dict(), trials)
        results = _results(len(trials), len(study.seeds))
        for start in range(0, len(trials), _AT_ONCE):
            ledger.record({trial.trial_id: next(results) for trial in trials[start : start + _AT_ONCE]})
    with contextlib.closing(sqlite3.connect(path)) as database, database:  # `start` would sync to the disk for each
        database.execute(
            "INSERT INTO attempts SELECT id, 1, '2026-11-21T00:00:00', '2026-11-21T00:00:01', status, NULL, "
            '\'{"torch": "2.14.1", "lightning": "2.6.6"}\' FROM trials'
        )


def measure(command: str, directory: Path) -> Took:
    """Run `ablate COMMAND DIRECTORY` in a separate process, from its start to its end.

    Raises:
        SystemExit: its exit code was not 0; the message has the end of its output.
    """
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _RUN, command, str(directory.absolute())],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"ablate {command} ended with exit code {done.returncode}:\n{done.stderr[-3000:]}")
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", done.stderr, flags=re.MULTILINE)
    return Took(seconds=seconds, peak_kb=int(peak[1]) if peak else None)


def growth_table(turns: Mapping[int, Mapping[str, Sequence[Took]]], sizes: Mapping[int, int]) -> list[str]:
    """Format one row per ledger: trials, size, seconds and peak memory of each command, and milliseconds per trial.

    Args:
        turns: by trials and command.
        sizes: of the ledgers in bytes, by trials.
    """
    heads = [f"{command}: {what}" for command in COMMANDS for what in ("seconds", "MB")]
    lines = [f"| trials | ledger, MB | {' | '.join(heads)} | report: ms a trial |", "|---" * (len(heads) + 3) + "|"]
    for number, by_command in turns.items():
        cells = [f"{number:,}", f"{sizes[number] / 1e6:.0f}"]
        for each in by_command.values():
            peaks = [took.peak_kb for took in each if took.peak_kb is not None]
            cells.append(spread([took.seconds for took in each], 2))
            cells.append(f"{max(peaks) / 1024:.0f}" if peaks else "not known")
        a_trial = statistics.median(took.seconds for took in by_command["report"]) / number
        lines.append(f"| {' | '.join(cells)} | {1000 * a_trial:.2f} |")
    return lines


def _results(num_trials: int, num_seeds: int) -> Iterator[Result]:
    """Generate learning curves that level off at the sum of a cell's and a seed's effect."""
    rng = np.random.default_rng(0)
    of_seed = rng.normal(0, 0.01, num_seeds)
    of_cell = 0.0
    reached = 1 - np.exp(-np.arange(1, _NUM_EPOCHS + 1) / 5)  # (epochs,)
    for number in range(num_trials):
        if number % num_seeds == 0:
            of_cell = rng.normal(0.9, 0.01)
        height = of_cell + of_seed[number % num_seeds]
        accuracy = height * reached[:, None] + rng.normal(0, 0.005, (_NUM_EPOCHS, 2))  # of training and validation
        epochs = tuple(
            {"train/loss": 2.3 * (1 - one), "train/acc": one, "val/loss": 2.3 * (1 - other), "val/acc": other}
            for one, other in accuracy.tolist()
        )
        score = float(accuracy[-1, 1] + rng.normal(0, 0.005))
        metrics = {**epochs[-1], "test/acc": score, "test/loss": 2.3 * (1 - score)}
        yield Result(
            status=TrialStatus.FINISHED,
            metrics=metrics,
            epochs=epochs,
            seconds=float(rng.uniform(1, 2)),
            device="cpu",
            num_parameters=9,
        )


def _circumstances() -> str:
    packages = ", ".join(f"{package} {version(package)}" for package in ("numpy", "pandas", "scipy"))
    return (
        f"{platform.machine()}, {num_cores()} cores, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {packages}, {time.strftime('%Y-%m-%d')}; {_NUM_EPOCHS} epochs of 4 metrics, "
        f"{NUM_SEEDS} seeds"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", choices=list(SHAPES), default=list(SHAPES), metavar="N")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the ledgers here, or reuse existing ones")
    return parser.parse_args()


if __name__ == "__main__":
    main()

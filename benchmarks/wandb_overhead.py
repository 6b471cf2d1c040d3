"""Overhead of --wandb offline: the quickstart with and without it, in turn, and the time of a push.

    python benchmarks/wandb_overhead.py --repeats 5

Nothing is uploaded. Seconds cover whole commands, imports included; a difference is within one turn.
"""

import argparse
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ways import spread

MODES = ("off", "offline")


def overhead_table(turns: Sequence[Mapping[str, float]], num_trials: int) -> list[str]:
    """Format the measurements as a Markdown table.

    Args:
        turns: of each turn, the seconds of `off`, `offline` and `push`.
        num_trials: of the study.
    """
    added = [(turn["offline"] - turn["off"]) / num_trials for turn in turns]
    pushed = [turn["push"] / num_trials for turn in turns]
    rows = [
        ("ablate run", [turn["off"] for turn in turns], ""),
        ("ablate run --wandb offline", [turn["offline"] for turn in turns], spread(added, 3)),
        ("ablate wandb push", [turn["push"] for turn in turns], spread(pushed, 3)),
    ]
    lines = [f"| {num_trials} trials | seconds, whole command: median (min to max) | seconds a trial more |"]
    lines += ["|---|---|---|", *(f"| {name} | {spread(list(seconds))} | {more} |" for name, seconds, more in rows)]
    return lines


def measured(study: str, seeds: int, folder: Path) -> dict[str, float]:
    """Measure one turn: the seconds of a study without and with W&B, and of a push of the first from scratch."""
    seconds = {}
    for mode in MODES:
        arguments = ["run", study, "--seeds", str(seeds), "--wandb", mode, "--out", str(folder / mode)]
        seconds[mode] = _seconds(arguments)
    seconds["push"] = _seconds(["wandb", "push", str(folder / "off"), "--wandb", "offline"])
    return seconds


def _seconds(arguments: Sequence[str]) -> float:
    command = [sys.executable, "-m", "ablate", *arguments]
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--study", default="quickstart")
    parser.add_argument("--seeds", type=int, default=5)
    parsed = parser.parse_args(arguments)
    turns = []
    for _ in range(parsed.repeats):
        with tempfile.TemporaryDirectory() as folder:
            turns.append(measured(parsed.study, parsed.seeds, Path(folder)))
    from experiments import build_cells, load_study

    num_trials = len(build_cells(load_study(parsed.study))) * parsed.seeds
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "lightning", "wandb"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}, ", end="")
    print(f"{datetime.now(UTC).date()}; {parsed.study}, turns: {parsed.repeats}\n")
    print("\n".join(overhead_table(turns, num_trials)))
    added = statistics.median((turn["offline"] - turn["off"]) / num_trials for turn in turns)
    print(f"\n--wandb offline: {added:.3f} s a trial more (the goal is at most 0.15)")


if __name__ == "__main__":
    main()

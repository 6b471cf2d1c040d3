"""Comparison of several ways to train the same trials, in turn: one table of whole commands.

    ABLATE_DATA_DIR=... python benchmarks/ways.py --trials 24 --repeats 3
    ABLATE_DATA_DIR=... python benchmarks/ways.py --trials 96 --stock-trials 8 --model convnet
    ABLATE_DATA_DIR=... python benchmarks/ways.py --growth 12 24 48 96 192
    ABLATE_DATA_DIR=... python benchmarks/ways.py --accelerator gpu --trials 512

The work: MLP 784-64-128-64-10 with batch norm and ReLU, or a ConvNet; Adam 0.001, batches of 128, MNIST 55,000/5,000,
2 epochs (ConvNet 1), validation after each. Only ours also tests on the 10,000 test images and writes a ledger and a
report. Each ratio is within one turn, so drift in the machine's speed does not bias it; "times stock" is the speed over
that of stock Lightning. A worker's peak memory is VmHWM, the largest resident set, shared pages included.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

from commands import EPOCHS, NAMES, SLOW, Took, Work, measure, num_cores, why_not_run

FEW = 4  # trials of stock Lightning on a GPU, unless --stock-trials is given
Turns = Mapping[str, Sequence[Took]]


def main() -> None:
    """Print one table."""
    arguments = _arguments()
    work = Work(
        num_trials=arguments.trials,
        num_slow_trials=min(arguments.stock_trials or arguments.trials, arguments.trials),
        model=arguments.model,
        accelerator=arguments.accelerator,
    )
    if arguments.growth:
        lines = growth_table(_growth_turns(arguments.growth, work, arguments.repeats))
    elif work.accelerator == "gpu":
        if (reason := _why_no_gpu()) is not None:
            print(f"not run: {reason}")
            return
        lines = gpu_table(_turns(["stock", "auto"], work, arguments.repeats), work)
    else:
        ways = list(arguments.ways)
        not_run = {way: reason for way in ways if (reason := why_not_run(way)) is not None}
        turns_by_way = _turns([way for way in ways if way not in not_run], work, arguments.repeats)
        lines = ways_table(turns_by_way, work, ways=ways, not_run=not_run)
    num_trials = ", ".join(map(str, arguments.growth or [work.num_trials]))
    print(f"\n{_circumstances(work)}, {num_trials} trials, turns: {arguments.repeats}\n")
    print(*lines, sep="\n")


def ways_table(turns: Turns, work: Work, *, ways: Sequence[str], not_run: Mapping[str, str]) -> list[str]:
    """Format the table of all ways; without stock Lightning, ratios are to the first way run."""
    first = "stock" if "stock" in turns else next(iter(turns), "stock")
    heads = "way", "seconds, whole command: median (min to max)", "seconds a trial", f"times {first}", "times plain"
    lines = [f"| {' | '.join(heads)} | MB a worker |", "|---|---|---|---|---|---|"]
    for way in ways:
        if way in not_run:
            lines.append(f"| {NAMES[way]} | {not_run[way]} | | | | |")
            continue
        seconds = [took.seconds for took in turns[way]]
        cells = [
            NAMES[way] + (" (computed, see below)" if _is_computed(way, work) else ""),
            spread(seconds),
            f"{statistics.median(seconds) / work.num_trials:.2f}",
            spread(ratios(turns, first, way)),
            spread(ratios(turns, "plain", way), 2) if "plain" in turns else "",
            _megabytes(turns[way]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines + [line for way in turns if _is_computed(way, work) for line in ("", how_computed(way, turns, work))]


def gpu_table(turns: Turns, work: Work) -> list[str]:
    """Format trials per hour on the GPU, and their ratio to stock Lightning."""
    lines = [
        "| way | trials trained | trials an hour: median (min to max) | times stock | MB a worker (not the GPU's) |",
        "|---|---|---|---|---|",
    ]
    for way, each in turns.items():
        an_hour = [3600 * work.num_trials / took.seconds for took in each]
        trained = work.num_slow_trials if way in SLOW else work.num_trials
        times = spread(ratios(turns, "stock", way))
        lines.append(f"| {NAMES[way]} | {trained} | {spread(an_hour, 0)} | {times} | {_megabytes(each)} |")
    return [*lines, "", how_computed("stock", turns, work)] if _is_computed("stock", work) else lines


def growth_table(turns: Mapping[int, Sequence[Took]]) -> list[str]:
    """Format the time and memory of `ablate run --fuse auto` by the number of trials."""
    lines = ["| trials | seconds, whole command: median (min to max) | seconds a trial | MB a worker |"]
    lines.append("|---|---|---|---|")
    for number, each in turns.items():
        seconds = [took.seconds for took in each]
        a_trial = statistics.median(seconds) / number
        lines.append(f"| {number} | {spread(seconds)} | {a_trial:.2f} | {_megabytes(each)} |")
    return lines


def ratios(turns: Turns, reference: str, way: str) -> list[float]:
    """Compute how many times as fast as the reference, in each turn."""
    return [theirs.seconds / mine.seconds for theirs, mine in zip(turns[reference], turns[way], strict=True)]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Format the median and the range.

    >>> spread([23.24, 22.6, 30.0])
    '23.2 (22.6 to 30.0)'
    >>> spread([23.24])
    '23.2'
    """
    median = f"{statistics.median(values):.{digits}f}"
    return f"{median} ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else median


def how_computed(way: str, turns: Turns, work: Work) -> str:
    """Describe in one sentence how a row was computed."""
    few, missing = work.num_slow_trials, work.num_trials - work.num_slow_trials
    a_trial = statistics.mean(seconds for took in turns[way] for seconds in took.trial_seconds)
    start = statistics.mean(took.start_seconds for took in turns[way])
    slots = f", {num_cores()} at a time" if way == "ray" else ""
    return (
        f"{NAMES[way]}: computed from {few} trials a turn: the seconds of that whole command (of its start alone "
        f"{start:.1f}) and, for each of the other {missing} trials, the mean seconds of its own trials ({a_trial:.2f}"
        f"{slots})."
    )


def _is_computed(way: str, work: Work) -> bool:
    return way in SLOW and work.num_slow_trials < work.num_trials


def _megabytes(turns: Sequence[Took]) -> str:
    return f"{max(took.peak_kb for took in turns) / 1024:.0f}"


def _turns(ways: Sequence[str], work: Work, repeats: int) -> dict[str, list[Took]]:
    """Run each way once per turn, so that a slow minute of the machine does not affect only one way."""
    turns: dict[str, list[Took]] = {way: [] for way in ways}
    for turn in range(1, repeats + 1):
        for way in ways:
            turns[way].append(measure(way, work))
            print(f"turn {turn}: {way} {turns[way][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    return turns


def _growth_turns(numbers: Sequence[int], work: Work, repeats: int) -> dict[int, list[Took]]:
    turns: dict[int, list[Took]] = {number: [] for number in numbers}
    for turn in range(1, repeats + 1):
        for number in numbers:
            turns[number].append(measure("auto", replace(work, num_trials=number, num_slow_trials=number)))
            print(f"turn {turn}: {number} trials {turns[number][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    return turns


def _why_no_gpu() -> str | None:
    import torch

    if torch.cuda.is_available():
        return None
    return f"torch {torch.__version__} finds no GPU on this machine (torch.cuda.is_available() is False)"


def _circumstances(work: Work) -> str:
    device = ""
    if work.accelerator == "gpu":
        import torch

        device = f", {torch.cuda.get_device_name()}"
    epochs = EPOCHS[work.model]
    return (
        f"{platform.machine()}, {num_cores()} cores{device}, Python {platform.python_version()}, "
        f"torch {version('torch')}, lightning {version('lightning')}, {time.strftime('%Y-%m-%d')}; {work.model}, "
        f"{epochs} {'epoch' if epochs == 1 else 'epochs'}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=_grid, help="trials per command, divisible by 4 (24; 512 on a GPU)")
    parser.add_argument("--repeats", type=_positive, default=3, help="turns (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", default=list(NAMES), choices=list(NAMES), help="default: all")
    parser.add_argument("--model", default="mlp", choices=list(EPOCHS))
    parser.add_argument("--accelerator", default="cpu", choices=["cpu", "gpu"], help="gpu: only stock and auto")
    parser.add_argument(
        "--stock-trials",
        type=_positive,
        metavar="K",
        help=f"train K trials of stock and ray per turn and compute the others' seconds (all; {FEW} on a GPU)",
    )
    parser.add_argument(
        "--growth", nargs="+", type=_grid, metavar="N", help="only `--fuse auto` on CPUs, with each of these trials"
    )
    arguments = parser.parse_args()
    if arguments.accelerator == "gpu":
        arguments.stock_trials = arguments.stock_trials or FEW
        if arguments.growth:
            parser.error("--growth measures CPUs; give it without --accelerator gpu")
    arguments.trials = arguments.trials or (512 if arguments.accelerator == "gpu" else 24)
    return arguments


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def _grid(text: str) -> int:
    value = _positive(text)
    if value % 4:
        raise argparse.ArgumentTypeError(f"{value} is not divisible by 4, the initialisations of the grid")
    return value


if __name__ == "__main__":
    main()

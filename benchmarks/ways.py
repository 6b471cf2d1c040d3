"""The same trials by stock Lightning, by `ablate run --fuse never` and by `ablate run --fuse auto`, in turn.

    ABLATE_DATA_DIR=... python benchmarks/ways.py --trials 12 --repeats 3 --ways stock never auto

The work: 784-64-128-64-10 with batch norm, Adam 0.001, batches of 128, MNIST 55,000/5,000, 2 epochs, validation after
each; ours also tests on the 10,000 test images and writes ledger and report, and stock Lightning does not. Whole
command against whole command, one after the other; each ratio is of one turn, so a machine whose speed drifts does not
bend it. Workers' peak memory is VmHWM, the largest resident set, shared pages included.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
NAMES = {"stock": "stock Lightning", "never": "ablate run --fuse never", "auto": "ablate run --fuse auto"}
STUDY = """
question: How long does a trial take?
base:
  model:
    class_path: lit_models.MLP
    init_args: {hidden: [64, 128, 64], batch_norm: true, activation: relu}
  data: {class_path: datamodules.MNIST, init_args: {batch_size: 128}}
  trainer: {max_epochs: 2, accelerator: cpu}
factors:
  init: {key: model.init_args.init, levels: [default, xavier_uniform, he_uniform, he_normal], reference: default}
metric: {name: test/acc, goal: max}
"""


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12, help="trials a command; even")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=["stock", "never", "auto"], choices=["stock", "never", "auto"])
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {way: [] for way in arguments.ways}
    memory = dict.fromkeys(arguments.ways, 0)
    for turn in range(arguments.repeats):
        for way in arguments.ways:
            took, peak = one(way, arguments.trials)
            seconds[way].append(took)
            memory[way] = max(memory[way], peak)
        print(f"turn {turn + 1}: " + ", ".join(f"{way} {took[-1]:.1f} s" for way, took in seconds.items()), flush=True)
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {version('torch')}, lightning {version('lightning')}, {time.strftime('%Y-%m-%d')}; "
        f"{arguments.trials} trials\n"
    )
    first = arguments.ways[0]
    print(f"| way | seconds, whole command: median (min to max) | seconds a trial | times {first} | MB a worker |")
    print("|---|---|---|---|---|")
    for way, took in seconds.items():
        median = statistics.median(took)
        ratios = [theirs / mine for theirs, mine in zip(seconds[first], took, strict=True)]
        print(
            f"| {NAMES[way]} | {median:.1f} ({min(took):.1f} to {max(took):.1f}) | {median / arguments.trials:.2f} | "
            f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) | {memory[way] / 1024:.0f} |"
        )


def one(way: str, num_trials: int) -> tuple[float, int]:
    """Seconds of one command, and the peak memory of its workers in kB (0 for stock, which has none)."""
    if way == "stock":
        data_dir = os.environ.get("ABLATE_DATA_DIR", "data")
        return timed([sys.executable, str(HERE / "stock_lightning.py"), data_dir, str(num_trials)])
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder, "timing.yaml")
        study.write_text(STUDY, encoding="utf-8")
        command = [sys.executable, "-m", "experiments.cli", "run", str(study), "--fuse", way]
        return timed([*command, "--seeds", str(num_trials // 4), "--out", str(Path(folder, "out"))])


def timed(command: list[str]) -> tuple[float, int]:
    """Wall seconds of a command, and the largest VmHWM in kB of its grandchildren, which are its workers."""
    peaks: dict[int, int] = {}
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        stop = threading.Event()
        watcher = threading.Thread(target=watch, args=(process.pid, peaks, stop))
        watcher.start()
        code = process.wait()
        seconds = time.perf_counter() - started
        stop.set()
        watcher.join()
    if code != 0:
        raise SystemExit(f"{command} ended with exit code {code}")
    return seconds, max(peaks.values(), default=0)


def watch(root: int, peaks: dict[int, int], stop: threading.Event) -> None:
    """Note the peak memory of the children of root's children, until told to stop."""
    while not stop.wait(0.5):
        for child in children(root):
            for worker in children(child):
                try:
                    lines = Path(f"/proc/{worker}/status").read_text(encoding="utf-8").splitlines()
                except OSError:
                    continue
                peaks[worker] = max([0, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])


def children(process_id: int) -> list[int]:
    """The processes that this one started; none where there is no /proc."""
    try:
        return [int(child) for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]
    except OSError:
        return []


if __name__ == "__main__":
    main()

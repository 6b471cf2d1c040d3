"""The same trials by stock Lightning and by `ablate run --fuse never`, whole command against whole command.

    ABLATE_DATA_DIR=... python benchmarks/unfused.py --seeds 12 --repeats 3

The work: 784-64-128-64-10 with batch norm, Adam 0.001, batches of 128, MNIST 55,000/5,000, 2 epochs, validation after
each; ours also tests on the 10,000 test images and writes ledger and report, and stock Lightning does not. The two
commands take turns; each ratio is of one turn, so a machine whose speed drifts does not bend it. Workers' peak memory
is VmHWM, the largest resident set, shared pages included.
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
STUDY = """
question: How long does a trial take?
base:
  model:
    class_path: lit_models.MLP
    init_args: {hidden: [64, 128, 64], batch_norm: true, activation: relu}
  data: {class_path: datamodules.MNIST, init_args: {batch_size: 128}}
  trainer: {max_epochs: 2, accelerator: cpu}
factors:
  init: {key: model.init_args.init, levels: [default, he], reference: default}
metric: {name: test/acc, goal: max}
"""


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12, help="trials a command; even")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    data_dir = os.environ.get("ABLATE_DATA_DIR", "data")
    stock, ours, memory = [], [], []
    for repeat in range(arguments.repeats):
        stock.append(timed([sys.executable, str(HERE / "stock_lightning.py"), data_dir, str(arguments.seeds)])[0])
        with tempfile.TemporaryDirectory() as folder:
            study = Path(folder, "timing.yaml")
            study.write_text(STUDY, encoding="utf-8")
            command = [sys.executable, "-m", "experiments.cli", "run", str(study), "--fuse", "never"]
            seconds, peak = timed([*command, "--seeds", str(arguments.seeds // 2), "--out", str(Path(folder, "out"))])
        ours.append(seconds)
        memory.append(peak)
        print(f"turn {repeat + 1}: stock {stock[-1]:.1f} s, ours {ours[-1]:.1f} s", flush=True)
    ratios = [theirs / mine for theirs, mine in zip(stock, ours, strict=True)]
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {version('torch')}, lightning {version('lightning')}, {time.strftime('%Y-%m-%d')}; "
        f"{arguments.seeds} trials\n"
    )
    print("| way | seconds, whole command: median (min to max) | seconds a trial | times stock |")
    print("|---|---|---|---|")
    for name, seconds, times in (("stock Lightning", stock, [1.0]), ("ablate run --fuse never", ours, ratios)):
        median = statistics.median(seconds)
        spread = f"{median:.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
        ratio = f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"
        print(f"| {name} | {spread} | {median / arguments.seeds:.2f} | {ratio} |")
    print(f"\nlargest peak memory of a worker: {max(memory) / 1024:.0f} MB")


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

"""Commands of the compared ways: their names, how they are started, and what one command took."""

import importlib.util
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
NAMES = {
    "stock": "stock Lightning",
    "ray": "Ray Tune, stock module",
    "plain": "plain PyTorch loop, one process a core",
    "never": "ablate run --fuse never",
    "auto": "ablate run --fuse auto",
}
EPOCHS = {"mlp": 2, "convnet": 1}
SLOW = ("stock", "ray")  # may train fewer trials; the seconds of all are computed from these
_DEPTHS = {"stock": 0, "plain": 1, "ray": 2, "never": 2, "auto": 2}  # where a way's workers are: 0 the command itself
_MODEL_LINES = {
    "mlp": "{class_path: lit_models.MLP, init_args: {hidden: [64, 128, 64], batch_norm: true, activation: relu}}",
    "convnet": "{class_path: lit_models.ConvNet}",
}
_INITS = ("default", "xavier", "he", "he_normal")  # other initial values, the same arithmetic
_STUDY = """
question: How long does a trial take?
base:
  model: MODEL
  data: {class_path: datamodules.MNIST, init_args: {batch_size: 128}}
  trainer: {max_epochs: EPOCHS, accelerator: ACCELERATOR}
factors:
  init: {key: model.init_args.init, levels: [INITS], reference: default}
metric: {name: test/acc, goal: max}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Work that every way trains.

    Args:
        num_trials: how many trials, divisible by 4: ours are a grid of 4 initialisations and num_trials / 4 seeds.
        num_slow_trials: trials that stock Lightning and Ray Tune train; the seconds of the others are computed.
        model: mlp or convnet.
        accelerator: cpu or gpu.
    """

    num_trials: int
    num_slow_trials: int
    model: str = "mlp"
    accelerator: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Time and memory of one command.

    Args:
        seconds: of the whole command, for num_trials trials even if it trained fewer.
        peak_kb: the largest VmHWM of its workers, in kB.
        start_seconds: until the first trial, if the command prints it.
        trial_seconds: of each trial trained, if the command prints them.
    """

    seconds: float
    peak_kb: int
    start_seconds: float = 0.0
    trial_seconds: tuple[float, ...] = ()


def why_not_run(way: str) -> str | None:
    """Return what to install before a way can be measured here; None if nothing."""
    if way == "ray" and any(importlib.util.find_spec(name) is None for name in ("ray", "tensorboardX")):
        return "not run: pip install 'ray[tune]', or uv sync --group tune"
    return None


def measure(way: str, work: Work) -> Took:
    """Run one command, from its start to its end.

    Raises:
        SystemExit: its exit code was not 0 (the message has the end of its output), or its output lacks trials.
    """
    with tempfile.TemporaryDirectory() as folder:
        took = timed(command(way, work, Path(folder)), depth=_DEPTHS[way])
    if way not in SLOW or work.num_slow_trials == work.num_trials:
        return took
    if len(took.trial_seconds) != work.num_slow_trials:
        raise SystemExit(f"{way} printed the seconds of {len(took.trial_seconds)} trials, not {work.num_slow_trials}")
    num_slots = num_cores() if way == "ray" else 1
    seconds = extrapolated(took.seconds, took.trial_seconds, num_trials=work.num_trials, num_slots=num_slots)
    return replace(took, seconds=seconds)


def command(way: str, work: Work, folder: Path) -> list[str]:
    """Return the command of one way; its inputs and outputs are in the folder."""
    if way in ("never", "auto"):
        study = folder / "timing.yaml"
        study.write_text(study_text(work), encoding="utf-8")
        ours = [sys.executable, "-m", "ablate", "run", str(study), "--fuse", way]
        return [*ours, "--seeds", str(work.num_trials // len(_INITS)), "--out", str(folder / "out")]
    script = {"stock": "stock_lightning.py", "ray": "ray_tune.py", "plain": "plain_loop.py"}[way]
    num_trials = work.num_slow_trials if way in SLOW else work.num_trials
    theirs = [sys.executable, str(HERE / script), os.environ.get("ABLATE_DATA_DIR", "data"), str(num_trials)]
    theirs += ["--model", work.model, "--epochs", str(EPOCHS[work.model])]
    return [*theirs, "--accelerator", work.accelerator] if way == "stock" else theirs


def study_text(work: Work) -> str:
    """Return our study file."""
    values = {
        "MODEL": _MODEL_LINES[work.model],
        "EPOCHS": str(EPOCHS[work.model]),
        "ACCELERATOR": work.accelerator,
        "INITS": ", ".join(_INITS),
    }
    return re.sub("|".join(values), lambda match: values[match[0]], _STUDY)


def extrapolated(seconds: float, trial_seconds: Sequence[float], *, num_trials: int, num_slots: int = 1) -> float:
    """Compute the seconds of a command of num_trials trials from one that trained fewer.

    Each missing trial adds the mean seconds of a trial, `num_slots` trials at a time.

    >>> extrapolated(34.0, [11.0, 13.0], num_trials=4)
    58.0
    """
    return seconds + (num_trials - len(trial_seconds)) * statistics.mean(trial_seconds) / num_slots


def printed_seconds(output: str) -> tuple[float, tuple[float, ...]]:
    r"""Parse the seconds of the start and of each trial from the output of stock_lightning.py or ray_tune.py.

    >>> printed_seconds("start: 9.50 s\nseed 0: 0.9712, 12.25 s\nseed 1: 0.9700, 12.00 s")
    (9.5, (12.25, 12.0))
    """
    start = re.search(r"^start: ([\d.]+) s$", output, flags=re.MULTILINE)
    trials = re.findall(r"^seed \d+: [\d.]+, ([\d.]+) s$", output, flags=re.MULTILINE)
    return float(start[1]) if start else 0.0, tuple(map(float, trials))


def timed(arguments: list[str], *, depth: int) -> Took:
    """Run a command; its workers are the command itself (depth 0), its children (1) or its grandchildren (2).

    Raises:
        SystemExit: its exit code was not 0; the message has the end of its output.
    """
    peaks: dict[int, int] = {}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        started = time.perf_counter()
        with subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT) as process:
            stop = threading.Event()
            watcher = threading.Thread(target=_watch, args=(process.pid, depth, peaks, stop))
            watcher.start()
            try:
                code = process.wait()
                seconds = time.perf_counter() - started
            finally:
                stop.set()
                watcher.join()
        output.seek(0)
        text = output.read()
    if code != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with exit code {code}:\n{text[-3000:]}")
    start_seconds, trial_seconds = printed_seconds(text)
    return Took(
        seconds=seconds,
        peak_kb=max(peaks.values(), default=0),
        start_seconds=start_seconds,
        trial_seconds=trial_seconds,
    )


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _watch(root: int, depth: int, peaks: dict[int, int], stop: threading.Event) -> None:
    """Note the peak memory in kB of the processes this far below root, until stopped."""
    while not stop.wait(0.5):
        workers = [root]
        for _ in range(depth):
            workers = [child for process in workers for child in _children(process)]
        for worker in workers:
            try:
                lines = Path(f"/proc/{worker}/status").read_text(encoding="utf-8").splitlines()
            except OSError:  # it has ended, or there is no /proc
                continue
            now = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
            peaks[worker] = max([peaks.get(worker, 0), *now])


def _children(process_id: int) -> list[int]:
    """List the processes that any thread of this one started; none without /proc."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{process_id}/task").iterdir():
            found += map(int, (thread / "children").read_text(encoding="utf-8").split())
    except OSError:  # it has ended
        pass
    return found

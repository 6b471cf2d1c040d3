"""Repeated random kills of workers, the fork server and the command while a study trains; nothing may be lost.

    python benchmarks/soak.py --kills 200

The random generator has a fixed seed. Each kill is SIGKILL at a random moment, usually during training, of a random
process of the command, usually a worker. A killed command is started again. A complete study gets more seeds, so that
there is always something to train. At the end the ledger must hold each trial once, with exactly the values of an
undisturbed run.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import yaml

from experiments import Ledger, LedgerError, TrialStatus

STUDY = {
    "question": "Is anything lost?",
    "base": {
        "model": {"class_path": "lit_models.Perceptron"},
        "data": {"class_path": "datamodules.Digits", "init_args": {"batch_size": 64}},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    },
    "factors": {"init": {"key": "model.init_args.init", "levels": ["default", "xavier"]}},
    "metric": {"name": "test/acc"},
}
_SEEDS_AT_ONCE = 8
_LONGEST_WAIT = 1.5  # seconds between two kills
_SHARE_IN_TRAINING = 0.9
_WEIGHTS = {"the command": 1, "a worker": 4, "the fork server or what it needs": 1}


def soak(num_kills: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Kill this often, finish the study, compare it with an undisturbed run, and count the kills of each process.

    Raises:
        SystemExit: something was lost, counted twice, or differs.
    """
    chance = random.Random(seed)
    path = folder / "soak.yaml"
    path.write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    killed: Counter[str] = Counter()
    num_seeds = _SEEDS_AT_ONCE
    command = _start(path, folder / "soaked", num_seeds)
    while killed.total() < num_kills:
        if chance.random() < _SHARE_IN_TRAINING:
            _wait_for_workers(command)
        time.sleep(chance.uniform(0.0, _LONGEST_WAIT))
        if command.poll() is None:
            killed[_kill_one(command.pid, chance)] += 1
        if command.poll() is not None:
            _check_ended(command)
            if _num_pending(folder / "soaked") == 0:
                num_seeds += _SEEDS_AT_ONCE
            command = _start(path, folder / "soaked", num_seeds)
    while _check_ended(command) != 0:
        command = _start(path, folder / "soaked", num_seeds)
    if _check_ended(_start(path, folder / "undisturbed", num_seeds)) != 0:
        raise SystemExit("the undisturbed run did not end well")
    _compare(folder / "soaked", folder / "undisturbed", num_seeds)
    return killed


def _start(path: Path, directory: Path, num_seeds: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "ablate", "run", str(path), "--out", str(directory)]
    # As many retries as kills, so that no trial fails; unfused, so that there is much to lose and little to wait for.
    options = ["--seeds", str(num_seeds), "--fuse", "never", "--retries", "1000"]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def _kill_one(process_id: int, chance: random.Random) -> str:
    """Kill the command or one of its processes, and return which."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        command = psutil.Process(process_id)
        kinds = {command: "the command"} | {
            child: "a worker" if os.getpgid(child.pid) == child.pid else "the fork server or what it needs"
            for child in command.children(recursive=True)
            if child.status() != psutil.STATUS_ZOMBIE
        }
        victim = chance.choices([*kinds], weights=[_WEIGHTS[kind] for kind in kinds.values()])[0]
        victim.send_signal(signal.SIGKILL)
        return kinds[victim]
    return "nothing"


def _wait_for_workers(command: "subprocess.Popen[str]") -> None:
    """Return once a worker exists, or the command has ended."""
    while command.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            children = psutil.Process(command.pid).children(recursive=True)
            if any(os.getpgid(child.pid) == child.pid for child in children):
                return
        time.sleep(0.05)


def _check_ended(command: "subprocess.Popen[str]") -> int:
    """Wait for a command and return its exit code.

    Raises:
        SystemExit: it ended neither well nor by the kill.
    """
    out, _ = command.communicate()
    if command.returncode not in (0, -signal.SIGKILL) and "could not be planned" not in out:
        raise SystemExit(f"exit code {command.returncode}:\n{out[-3000:]}")
    return command.returncode


def _num_pending(directory: Path) -> int:
    try:
        with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
            counts = ledger.counts()
    except LedgerError:  # killed before it was created
        return 1
    return counts[TrialStatus.PENDING] + counts[TrialStatus.RUNNING]


def _compare(soaked: Path, undisturbed: Path, num_seeds: int) -> None:
    found = []
    for directory in (soaked, undisturbed):
        with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
            trials = [(row["trial_id"], row["status"]) for row in ledger.trials()]
            found.append((sorted(trials), sorted(ledger.metrics()), sorted(ledger.epochs()), dict(ledger.correct())))
            for trial_id, status in trials:
                ended = [attempt["status"] for attempt in ledger.trial(trial_id)["history"]]
                if status != TrialStatus.FINISHED or ended.count(TrialStatus.FINISHED) != 1:
                    raise SystemExit(f"{directory}: trial {trial_id} is {status}, its attempts {ended}")
    if len(found[0][0]) != 2 * num_seeds:
        raise SystemExit(f"{len(found[0][0])} trials, not {2 * num_seeds}")
    if found[0] != found[1]:
        raise SystemExit("the values differ from those of the undisturbed run")


def main() -> None:
    """Run the soak test and print what was killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random kills (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        killed = soak(arguments.kills, Path(folder), arguments.seed)
    counted = ", ".join(f"{number} times {kind}" for kind, number in sorted(killed.items()))
    print(f"killed {counted}, in {time.monotonic() - started:.0f} s; nothing lost, nothing twice, the same values")


if __name__ == "__main__":
    main()

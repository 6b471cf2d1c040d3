"""Overhead of Ray: the start, the first task, and each further task that does nothing.

    python benchmarks/ray_overhead.py [--address HOST:PORT] [--tasks 500] [--slots 2]

Without an address it starts Ray on this machine. "warm" is the median over 5 rounds of seconds per task; each task
sends one message and returns at once, as many at a time as there are slots. Needs the extra `ray`.
"""

import argparse
import platform
import statistics
import time
from typing import Any

from experiments.runners import Done, Event, RayRunner, Task

ROUNDS = 5


def nothing(argument: bytes, emit: Any) -> int:
    """Send one message and end."""
    emit("here")
    return len(argument)


def seconds_for(runner: RayRunner, num_tasks: int, argument: bytes = b"") -> float:
    """Return the seconds that the runner takes for this many tasks."""
    events: list[Event] = []
    started = time.perf_counter()
    runner.run([Task(key=str(n), function=nothing, argument=argument) for n in range(num_tasks)], events.append)
    seconds = time.perf_counter() - started
    if sum(isinstance(event, Done) for event in events) != num_tasks:
        raise SystemExit("not every task ended well")
    return seconds


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", metavar="HOST:PORT")
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--slots", type=int)
    arguments = parser.parse_args()
    import ray

    started = time.perf_counter()
    with RayRunner(arguments.address, arguments.slots) as runner:
        runner.run([], print)  # waits for the cluster
        slots = runner.num_slots
        connected = time.perf_counter() - started
        first = seconds_for(runner, 1)
        seconds_for(runner, 10 * slots)  # every worker is up
        rounds = [seconds_for(runner, arguments.tasks) / arguments.tasks for _ in range(ROUNDS)]
        one = statistics.median(seconds_for(runner, 1) for _ in range(20))
        big = seconds_for(runner, 20, bytes(20 * 2**20)) / 20
        started = time.perf_counter()
    stopped = time.perf_counter() - started
    print(f"{platform.machine()}, Python {platform.python_version()}, ray {ray.__version__}, {slots} slots\n")
    print("| what | milliseconds |\n|---|---|")
    for what, seconds in (
        ("start, until the cluster has answered", connected),
        ("first task, with the start of a worker", first),
        (f"a task of {arguments.tasks}, warm: median of {ROUNDS} rounds", statistics.median(rounds)),
        (f"the same: fastest and slowest round, {min(rounds) * 1000:.1f} to", max(rounds)),
        ("a single task, warm, from request to end: median of 20", one),
        ("a task of 20 that share an argument of 20 MB", big),
        ("stop", stopped),
    ):
        print(f"| {what} | {seconds * 1000:.1f} |")


if __name__ == "__main__":
    import ray_overhead  # by module name: a worker cannot import a task from __main__

    ray_overhead.main()

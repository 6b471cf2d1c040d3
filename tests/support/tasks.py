"""Functions that tests of runners send to workers."""

import gc
import os
import pathlib
import signal
import sys
import time


def double(number, emit):
    emit(("half", number / 2))
    emit(("again", number))
    return number * 2


def fail(text, emit):
    emit("before")
    raise ValueError(text)


def fail_with_odd_error(text, emit):
    class OddError(Exception):
        """Local class, which cannot be pickled."""

    raise OddError(text)


def process_id(argument, emit):
    return os.getpid()


def die(number, emit):
    os.kill(os.getpid(), number)
    time.sleep(30)


def leave(code, emit):
    os._exit(code)


def threads_and_gpus(argument, emit):
    import torch

    return torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES")


def start_state(module, emit):
    """Return True if a module is imported already, and the state of the garbage collector."""
    return module in sys.modules, gc.isenabled(), gc.get_freeze_count() > 0


def say(text, emit):
    print(text, flush=True)
    os.system(f"echo {text} from a child")


def slow(path, emit):
    time.sleep(1.5)
    with open(path, "a") as file:
        file.write("done\n")


def meet(folder, emit):
    """Wait until two of these tasks run at the same time, and return the node of the Ray cluster."""
    node = ray_node(0, emit)
    here = pathlib.Path(folder)
    (here / str(os.getpid())).touch()
    until = time.monotonic() + 600
    while len(list(here.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    return node, len(list(here.iterdir()))


def ray_node(seconds, emit):
    """Return the node of the Ray cluster."""
    import ray

    time.sleep(seconds)
    return ray.get_runtime_context().get_node_id()


def tell_and_wait(seconds, emit):
    """Send the process id, and end after a while."""
    emit(os.getpid())
    time.sleep(seconds)
    return "ended"


def size(data, emit):
    return len(data)


def hang(argument, emit):
    emit("before")
    while True:
        time.sleep(1)


def exit_politely(code, emit):
    sys.exit(code)


def wait_for(seconds, emit):
    time.sleep(seconds)


def span(seconds, emit):
    """Return the times of start and end on a clock that all processes share."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def cores(argument, emit):
    return os.sched_getaffinity(0)


def die_with_child(argument, emit):
    child = os.fork()
    if child == 0:
        time.sleep(3600)
        os._exit(0)
    emit(child)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30)


def fork_and_return(number, emit):
    os.fork()
    emit("once")
    return number


def signal_itself(number, emit):
    os.kill(os.getpid(), number)
    time.sleep(0.2)
    return "still there"

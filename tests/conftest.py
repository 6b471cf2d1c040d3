"""Fixtures of several tests: one thread, real data if present, the W&B server, and seeds."""

import gc
import importlib.util
import multiprocessing
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("fused_and_unfused")  # it asserts for several tests

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # no limits on time: a machine may be slow

collect_ignore = ["support"]  # users' modules that tests train, one of them broken on purpose

# One fork server serves all tests of a process: whichever starts it, it imports what the workers of any need.
multiprocessing.get_context("forkserver").set_forkserver_preload(
    ["experiments.training.train", "experiments.planning.plan", "experiments.fusing", "lit_models", "datamodules"]
)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; the tests' commands would too
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: workers and tests share few cores


def pytest_runtest_setup(item):
    if item.get_closest_marker("ray") and importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: `uv sync --extra ray`")


@pytest.fixture
def mnist_folder():
    """Return the folder of real data sets, or skip the test if it is absent."""
    folder = os.environ.get("ABLATE_DATA_DIR", "")
    if not folder or not (Path(folder) / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
        pytest.skip("needs MNIST: set ABLATE_DATA_DIR to the folder that holds MNIST/raw")
    return Path(folder)


@pytest.fixture
def wandb_server():
    """Start a loopback W&B server, and check afterwards that it knew all requests and no other host was contacted."""
    from wandb_server import WandbServer

    with WandbServer() as server:
        yield server
        assert server.unknown == []
        assert server.trap.hosts == []


@pytest.fixture(autouse=True)
def seeded():
    """Seed all generators, so that tests are independent of order and process. Torch is seeded only if imported."""
    random.seed(1)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(1)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(1)


@pytest.fixture(autouse=True)
def unchanged_environment():
    """Check that a test leaves environment variables unchanged."""
    before = dict(os.environ)
    yield
    after = dict(os.environ)
    os.environ.clear()
    os.environ.update(before)
    left = {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)}
    left = {name for name in left if not name.startswith(("PYTEST_", "PL_", "KMP_", "TORCH", "PYTORCH_"))}  # libraries'
    assert not left, f"the test left environment variables changed: {sorted(left)}"


def pytest_collection_finish():
    """Exclude imported modules from garbage collection, since they stay."""
    gc.collect()
    gc.freeze()

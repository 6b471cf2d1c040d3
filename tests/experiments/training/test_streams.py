"""Seeds of a trial's streams. They never change, since every trained number depends on them."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from experiments.training.seeding import derive_seed, preserve_generators
from experiments.training.streams import TrialStreams

ROOT = Path(__file__).parents[3]
PINNED = [3870897054, 1882822454, 3098587144, 910421343]


def drawn():
    """Draw once from each global generator."""
    return torch.rand(()).item(), float(np.random.random()), random.random()


@pytest.mark.parametrize(
    ("start", "seed"),
    [
        (lambda streams: streams.data(), 7),
        (lambda streams: streams.split(), derive_seed(7, "split")),
        (lambda streams: streams.late(), derive_seed(7, "init", "late")),
        (lambda streams: streams.order(3), derive_seed(7, "order", 3)),
        (lambda streams: streams.order("test"), derive_seed(7, "order", "test")),
        (lambda streams: streams.dropout(2), derive_seed(7, "dropout", 2)),
        (lambda streams: streams.dropout(2, 1), derive_seed(7, "dropout", 2, 1)),
    ],
)
def test_each_stream_starts_all_generators_at_its_seed(start, seed):
    with preserve_generators():
        start(TrialStreams(7))
        found = drawn()
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        assert found == drawn()


def test_seeds_are_pinned():
    streams = TrialStreams(7)
    assert [streams.order_seed(), streams.order_seed(0), streams.dropout_seed(0), streams.dropout_seed(0, 1)] == PINNED


def test_order_states_do_not_change_the_generators():
    with preserve_generators():
        before = torch.get_rng_state()
        states = TrialStreams(7).order_states(1)
        assert torch.equal(torch.get_rng_state(), before)
        states.restore()
        found = drawn()
        TrialStreams(7).order(1)
        assert found == drawn()


def test_initial_values_depend_only_on_the_seed():
    with preserve_generators():
        torch.manual_seed(1)
        first = TrialStreams(7).model(lambda: nn.Linear(3, 3)).weight.detach().clone()
        torch.manual_seed(2)
        assert torch.equal(TrialStreams(7).model(lambda: nn.Linear(3, 3)).weight, first)
        assert not torch.equal(TrialStreams(8).model(lambda: nn.Linear(3, 3)).weight, first)


def test_no_other_file_names_a_stream():
    """Streams are named in one file; `named_draws` derives from one of them, gradient checks have their own seed."""
    users = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "experiments").rglob("*.py")
        if re.search(r"\bderive_seed\(", path.read_text(encoding="utf-8"))
    }
    assert users == {
        *(f"experiments/training/{name}.py" for name in ("seeding", "named_draws", "streams")),
        "experiments/gradients/comparison.py",
    }

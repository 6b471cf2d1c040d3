"""Networks that read words: fused equals unfused, and look-ups read the trial's own table."""

import pytest
import torch
from fused_and_unfused import LR, assert_equal, train_unfused, trials_of
from slow import slow, slow_except
from torch.nn import functional

from experiments.fusing import group_trials, train_fused
from experiments.fusing.layers.embedding_lookup import look_up
from experiments.trials.trial import NotFused

SENTENCES = {"class_path": "text_modules.Sentences"}


def text(name, **init_args):
    return {"class_path": f"text_modules.{name}", "init_args": init_args}


NAMES = ["Reader", "Gated", "Looped", "Filters", "Tied", "Frozen", "Functional", "ByFrequency"]


@pytest.mark.parametrize("name", slow_except(NAMES, "Reader", "Gated", "Tied"))
@pytest.mark.parametrize("seeds", [slow(1), 2])
def test_users_modules_for_words_fuse(name, seeds, tmp_path):
    assert_equal(trials_of(text(name), [0.03, 0.1], key=LR, data=SENTENCES, seeds=seeds, max_epochs=3), tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "FunctionalPadded",
            "f=0.03, seed=1: the loss of step 1 differs by ",
        ),  # vmap pads the first trial's table only
        ("Bounded", "fused training raises RuntimeError: vmap: aten::embedding_renorm_"),
    ],
)
def test_look_ups_that_would_differ_prevent_fusing(name, reason):
    found = train_fused(trials_of(text(name), [0.03, 0.1], key=LR, data=SENTENCES), lambda event: None)
    assert isinstance(found, NotFused)
    assert found.reason.startswith(reason), found.reason


def test_a_word_id_out_of_range_is_an_error(tmp_path):
    data = SENTENCES | {"init_args": {"late_word": 30}}  # in the last batch, which the proof does not see
    trials = trials_of(text("Reader"), [0.03, 0.1], key=LR, data=data)
    found = train_fused(trials, lambda event: None)
    assert found == NotFused(reason="fused training raises IndexError: index out of range in self")
    assert "IndexError: index out of range in self" in train_unfused(trials[0], tmp_path).error


def test_convolutions_over_words_are_unfused_on_a_cpu():
    trials = trials_of(text("Filters"), [0.03, 0.1], key=LR, data=SENTENCES)
    asked = group_trials(trials, num_slots=1, only_where_faster=True)
    assert {group.reason_not_fusable for group in asked} == {"on a CPU, convolutions are faster one trial at a time"}


@pytest.mark.parametrize("padding_idx", [None, 2])
@pytest.mark.parametrize("num_columns", [1, 3], ids=["shared", "of each trial"])
@pytest.mark.parametrize("shape", [(), (4,), (4, 5)])
def test_a_look_up_and_its_gradient_equal_those_of_each_trial(shape, num_columns, padding_idx):
    tables = torch.randn(6, 7, 3, dtype=torch.float64, requires_grad=True)
    ids = torch.randint(0, 7, (2, num_columns, *shape))
    weights = torch.randn(2, 3, *shape, 3, dtype=torch.float64)
    found = look_up(tables, ids, (2, 3), padding_idx)
    (gradient,) = torch.autograd.grad((found * weights).sum(), tables)
    for place, of_trial in enumerate(ids.expand(2, 3, *shape).flatten(0, 1)):
        table = tables[place].detach().requires_grad_()
        unfused = functional.embedding(of_trial, table, padding_idx)
        assert torch.equal(found.flatten(0, 1)[place], unfused)
        (expected,) = torch.autograd.grad((unfused * weights.flatten(0, 1)[place]).sum(), table)
        torch.testing.assert_close(gradient[place], expected)


@pytest.mark.parametrize("wrong", [-1, 7])
def test_a_look_up_rejects_ids_out_of_range(wrong):
    with pytest.raises(IndexError, match="index out of range in self"):
        look_up(torch.zeros(6, 7, 3), torch.tensor([[[1, wrong]]]), (1, 6), None)

"""Correct test examples: outputs of test steps in fused and unfused training, and digests of test sets."""

import math

import numpy as np
import pytest
import torch
from fused_and_unfused import LR, assert_equal, train_unfused, trials_of
from slow import slow, slow_except
from torch.utils.data import DataLoader, TensorDataset

from experiments.fusing import train_in_one_loop
from experiments.training.correct_examples import CorrectCollector, Fingerprint, find_correct
from experiments.trials.trial import Correct

WAYS = ["logits", "predictions", "preds", "correct", "correct and target"]
ODD = [
    *("nothing", "loss", "no target", "numbers", "one number", "share", "one logit", "other size", "list", "pixels"),
    "not always",
]


def says(how):
    return {"class_path": "tested_module.Says", "init_args": {"says": how}}


def points(**init_args):
    return {"class_path": "tested_module.Points", "init_args": init_args}


def trials_that_say(how, seeds=2, **data):
    return trials_of(says(how), [0.1, 1.0], key=LR, data=points(**data), seeds=seeds)


def bits_of(correct):
    return np.unpackbits(np.frombuffer(correct.bits, np.uint8), count=correct.num_examples).astype(bool)


@pytest.mark.parametrize("how", WAYS)
def test_every_output_form_gives_the_logged_accuracy(how, tmp_path):
    trials = trials_that_say(how)
    assert_equal(trials, tmp_path)
    for result in train_in_one_loop(trials, lambda event: None).values():
        assert result.correct.num_examples == 23
        assert bits_of(result.correct).mean() == pytest.approx(result.metrics["acc"])
        assert (result.correct.targets is None) == (how == "correct")
        assert len(result.correct.examples) == 16


def test_all_output_forms_give_the_same_bits(tmp_path):
    found = [train_unfused(trials_that_say(how, seeds=1)[0], tmp_path).correct for how in WAYS]
    assert {(correct.bits, correct.examples) for correct in found} == {(found[0].bits, found[0].examples)}
    assert {correct.targets for correct in found} == {found[0].targets, None}


@pytest.mark.parametrize("how", slow_except(ODD, *list(ODD)[:3]))
def test_other_outputs_have_no_bits_and_are_no_error(how, tmp_path):
    trials = trials_that_say(how, seeds=1)
    assert_equal(trials, tmp_path)
    for result in [*train_in_one_loop(trials, lambda event: None).values(), train_unfused(trials[0], tmp_path)]:
        assert (result.status, result.correct) == ("finished", None)


def test_a_test_of_several_loaders_has_no_bits(tmp_path):
    result = train_unfused(trials_that_say("logits", loaders=2)[0], tmp_path)
    assert (result.status, result.correct) == ("finished", None)


def test_bits_do_not_depend_on_the_batch_size(tmp_path):
    found = [
        result.correct
        for size in (1, 7, 8, 23, 50)
        for result in train_in_one_loop(trials_that_say("logits", seeds=1, size=size), lambda event: None).values()
    ]
    assert found[::2] == [found[0]] * 5
    assert found[1::2] == [found[1]] * 5


def test_another_order_or_test_set_has_another_digest():
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 3, 300, generator=draws), torch.arange(40) % 2
    others = {
        "same": TensorDataset(x, y),
        "turned round": TensorDataset(x.flip(0), y),
        "one value": TensorDataset(
            x.index_put((torch.tensor(7), torch.tensor(2), torch.tensor(0)), x.new_zeros(())), y
        ),
        "other targets": TensorDataset(x, 1 - y),
    }
    digests = {}
    for name, examples in others.items():
        for size in (7, 40):
            fingerprint = Fingerprint()
            for batch in DataLoader(examples, batch_size=size):
                fingerprint.add(batch)
            digests.setdefault(name, set()).add(fingerprint.hexdigest())
    assert all(len(found) == 1 for found in digests.values())
    assert len(set.union(*digests.values())) == 4


@pytest.mark.parametrize(
    "batch",
    [
        {"x": torch.zeros(2, 0), "name": ["a", "b"], "weights": torch.ones(3)},
        [torch.zeros(2, dtype=torch.bool), (torch.zeros(2, 3, dtype=torch.bfloat16), None)],
        [torch.zeros(2, 3).to_sparse(), torch.zeros(()), torch.zeros(2, 3, dtype=torch.complex64), torch.zeros(2)],
    ],
)
def test_batches_of_every_kind_have_a_digest(batch):
    fingerprint = Fingerprint()
    fingerprint.add(batch)
    assert len(fingerprint.hexdigest()) == 16
    assert find_correct({"correct": torch.tensor([True, False])}, batch).keys() == {"correct"}


@pytest.mark.parametrize("batch", [None, "text", [], {"x": None}, object(), torch.zeros(())])
def test_batches_without_tensors_have_no_digest(batch):
    fingerprint = Fingerprint()
    fingerprint.add(batch)
    assert fingerprint.hexdigest() is None
    assert find_correct({"correct": torch.tensor([True])}, batch) == {}


def test_a_test_without_batches_has_no_bits():
    assert CorrectCollector().finish(None) is None


def test_bits_are_packed_like_numpys_and_counted():
    correct = Correct(num_examples=11, bits=np.packbits([1, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1]).tobytes())
    assert correct.num_right == 5
    assert bits_of(correct).tolist() == [True, False, True, True, False, False, False, False, True, False, True]


@pytest.mark.parametrize("data", [None, slow({"class_path": "small_data.OddOrEven"})])
@pytest.mark.parametrize("precision", [slow("64-true"), "32-true"])
def test_a_classifier_returns_bits_for_any_number_of_classes(tmp_path, data, precision):
    model = {"class_path": "lit_models.MLP", "init_args": {"hidden": [8]}}
    trials = trials_of(model, ["xavier_normal", "he_normal"], data=data, precision=precision)
    fused = train_in_one_loop(trials, lambda event: None)
    for trial in trials:
        for result in (fused[trial.trial_id], train_unfused(trial, tmp_path)):
            assert result.correct.num_examples == 270
            assert result.correct.num_right / 270 == pytest.approx(result.metrics["test/acc"], rel=1e-6)
        assert result.correct.examples == fused[trial.trial_id].correct.examples
    assert len({result.correct.examples for result in fused.values()}) == 2  # each seed has its own split


@pytest.mark.slow
def test_trials_that_stop_early_keep_the_bits_of_their_last_epoch(tmp_path):
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "train/acc", "mode": "max", "patience": 1},
    }
    model = {"class_path": "lit_models.MLP", "init_args": {"hidden": [8]}}
    rates = [{"class_path": "torch.optim.SGD", "init_args": {"lr": lr}} for lr in (1e-6, 0.3)]
    trials = trials_of(
        model,
        {"slow": rates[0], "fast": rates[1]},
        key="model.init_args.optimizer",
        data={"class_path": "tested_module.FixedTest"},
        max_epochs=6,
        callbacks=[stopping],
    )
    assert_equal(trials, tmp_path)
    found = train_in_one_loop(trials, lambda event: None).values()
    assert len({len(result.epochs) for result in found}) > 1
    assert {result.correct.num_examples for result in found} == {270}
    assert len({result.correct.examples for result in found}) == 1
    for result in found:
        assert result.correct.num_right / 270 == pytest.approx(result.metrics["test/acc"])


def test_a_trial_that_diverged_has_no_bits(tmp_path):
    trials = trials_of(says("logits"), [0.1, math.inf], key=LR, data=points())
    unfused = [train_unfused(trial, tmp_path) for trial in trials]
    assert {(result.status, result.correct is None) for result in unfused} == {("finished", False), ("diverged", True)}
    fused = train_in_one_loop(trials_of(says("logits"), [0.1, math.inf], key=LR, data=points()), lambda event: None)
    assert sorted(result.correct is None for result in fused.values()) == [False, False, True, True]

"""Epoch metrics that are no means of batches: equal in fused and unfused training, or a reason against fusing."""

import math

import pytest
import torch
from fused_and_unfused import LR, assert_equal, train_unfused, trials_of

from experiments.fusing import group_trials, train_fused, train_in_one_loop
from experiments.fusing.fit.epoch_outputs import EpochOutputs
from experiments.trials.trial import NotFused

SENTENCES = {"class_path": "text_modules.Sentences"}  # 25 examples to validate and to test, in batches of 10


def text(name, **init_args):
    return {"class_path": f"text_modules.{name}", "init_args": init_args}


def test_f1_and_auroc_are_the_same_fused_and_unfused(tmp_path):
    trials = trials_of(text("Bag"), [0.003, 0.05], key=LR, data=SENTENCES, max_epochs=4)
    assert_equal(trials, tmp_path)
    for result in train_in_one_loop(trials, lambda event: None).values():
        assert result.metrics.keys() == {
            f"{split}/{name}" for split in ("train", "val", "test") for name in ("loss", "acc", "f1", "auroc")
        } - {"train/f1", "train/auroc"}
        assert all({"val/f1", "val/auroc"} <= epoch.keys() for epoch in result.epochs)
        assert 0 < result.metrics["test/f1"] < 1
        assert 0 < result.metrics["test/auroc"] < 1


@pytest.mark.slow
def test_each_trial_stops_early_by_an_epoch_metric(tmp_path):
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/auroc", "mode": "max", "patience": 2},
    }
    trials = trials_of(text("Bag"), [0.003, 0.1], key=LR, data=SENTENCES, max_epochs=12, callbacks=[stopping])
    assert_equal(trials, tmp_path)
    fused = train_in_one_loop(trials, lambda event: None)
    assert len({len(result.epochs) for result in fused.values()}) > 1


def test_an_undefined_metric_is_nan_and_no_divergence(tmp_path):
    data = SENTENCES | {"init_args": {"is_one_sided": True}}
    trials = trials_of(text("Bag"), [0.003, 0.1], key=LR, data=data)
    assert_equal(trials, tmp_path)
    for result in train_in_one_loop(trials, lambda event: None).values():
        assert result.status == "finished"
        assert math.isnan(result.metrics["test/auroc"])
        assert math.isfinite(result.metrics["test/f1"])


def test_epoch_metrics_of_a_users_module_fuse(tmp_path):
    assert_equal(trials_of(text("Measured"), [0.03, 0.1], key=LR, data=SENTENCES, max_epochs=3), tmp_path)


def test_epoch_metrics_use_the_hyperparameters_of_each_trial(tmp_path):
    trials = trials_of(text("Measured"), [0.0, 0.2, -9.0], key="model.init_args.threshold", data=SENTENCES)
    assert_equal(trials, tmp_path)
    recalls = {result.metrics["val_recall"] for result in train_in_one_loop(trials, lambda event: None).values()}
    assert 1.0 in recalls
    assert len(recalls) > 1


def test_outputs_without_epoch_metrics_are_ignored(tmp_path):
    assert_equal(trials_of(text("Silent"), [0.03, 0.1], key=LR, data=SENTENCES), tmp_path)


def test_evaluation_runs_in_parts_if_memory_is_short(monkeypatch, tmp_path):
    monkeypatch.setattr("experiments.fusing.fit.memory.MemoryEstimate.count_rows_at_once", lambda *_: 1)
    assert_equal(trials_of(text("Bag"), [0.003, 0.05], key=LR, data=SENTENCES, seeds=3), tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("HooksAlone", "HooksAlone overrides on_validation_batch_end"),
        ("Hooked", "Hooked overrides on_train_epoch_end"),
    ],
)
def test_other_hooks_prevent_fusing(name, reason):
    groups = group_trials(trials_of(text(name), [0.03, 0.1], key=LR, data=SENTENCES), num_slots=1)
    assert {group.reason_not_fusable for group in groups} == {reason}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "LogsMore",
            "unfused steps log ['val/loss', 'val_more', 'val_recall', 'val_size'], fused ones ['val/loss', 'val_r",
        ),
        ("LogsOther", "f=0.03, seed=0: val_recall differs by "),
        ("ReadsWeights", "f=0.03, seed=0: val_recall differs by "),
    ],
)
def test_hooks_that_do_more_than_collect_outputs_are_found(name, reason):
    found = train_fused(trials_of(text(name), [0.03, 0.1], key=LR, data=SENTENCES), lambda event: None)
    assert isinstance(found, NotFused)
    assert found.reason.startswith(reason), found.reason


def test_too_large_outputs_are_found_at_the_first_batch():
    outputs = EpochOutputs(num_batches=5, budget=5 * 80 - 1)
    with pytest.raises(MemoryError, match="the outputs of evaluation need 400 of 399 bytes"):
        outputs.add({"logits": torch.zeros(2, 5, 2)})


def test_unfused_trials_record_epoch_metrics_in_each_epoch(tmp_path):
    trial, *_ = trials_of(text("Bag"), [0.05, 0.1], key=LR, data=SENTENCES, max_epochs=3)
    result = train_unfused(trial, tmp_path)
    assert len({epoch["val/auroc"] for epoch in result.epochs}) > 1
    assert result.metrics["val/auroc"] == result.epochs[-1]["val/auroc"]
    assert {"test/f1", "test/auroc"} <= result.metrics.keys()

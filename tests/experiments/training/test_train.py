import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from small_study import small_study

from experiments import EpochEnded, parse_study
from experiments.fusing import group_trials
from experiments.planning.plan import plan_trials
from experiments.training.epoch_means import EpochMeans
from experiments.training.train import Training, train_trial

USER = {
    "model": {"class_path": "user_module.UserModule"},
    "data": {"class_path": "user_module.UserData"},
    "trainer": {"max_epochs": 3, "accelerator": "cpu"},
}


class Notes(Callback):
    """Callback that records the batches of a module; `kept` survives the Trainer."""

    kept: list = []  # noqa: RUF012 -- one list for the test that reads it

    def on_train_start(self, trainer, pl_module):
        Notes.kept = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        Notes.kept.append([tensor.clone() for tensor in batch])


def trials_of(base, levels, seeds=1, key="model.init_args.extra"):
    study = small_study(seeds=seeds, factors={"f": {"key": key, "levels": levels}}, base=copy.deepcopy(base))
    return plan_trials(parse_study(study))


def train(trial, tmp_path: Path, emit=lambda event: None):
    return train_trial(Training(trial=trial, directory=tmp_path), emit)


def batches_of(trial, tmp_path):
    with_notes = copy.deepcopy(trial.config)
    with_notes["trainer"]["callbacks"] = [{"class_path": f"{__name__}.Notes"}]
    result = train(replace(trial, config=with_notes), tmp_path)
    assert result.status == "finished", result.error
    return Notes.kept


def same_batches(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


def test_a_result_has_metrics_epochs_backend_and_device(tmp_path):
    trial, _ = plan_trials(parse_study(small_study(seeds=1)))
    events = []
    result = train(trial, tmp_path, events.append)
    assert result.status == "finished"
    assert set(result.metrics) == {"train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc"}
    assert 0.2 < result.metrics["test/acc"] <= 1
    assert [set(epoch) for epoch in result.epochs] == [{"train/loss", "train/acc", "val/loss", "val/acc"}]
    assert events == [EpochEnded(trial_id=trial.trial_id, epoch=0, metrics=result.epochs[0])]
    assert result.num_parameters == 64 * 8 + 8 + 8 * 10 + 10
    assert (result.device, result.backend) == ("cpu", "lightning")
    assert result.seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_a_repeated_trial_is_bit_identical(tmp_path):
    trial = trials_of(USER, [False, True])[0]
    one, other = train(trial, tmp_path), train(trial, tmp_path)
    assert one.metrics == other.metrics
    assert one.epochs == other.epochs


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_models_of_one_seed_get_equal_data_of_a_users_module(tmp_path):
    plain, extra = trials_of(USER, [False, True])
    base = copy.deepcopy(USER)
    base["model"]["init_args"] = {"dropout": 0.5}
    dropout = trials_of(base, [False, True])[0]
    seen = batches_of(plain, tmp_path)
    assert len(seen) == 3 * 3
    assert same_batches(seen, batches_of(extra, tmp_path))
    assert same_batches(seen, batches_of(dropout, tmp_path))
    epochs = [torch.cat([x for x, _ in seen[start : start + 3]]) for start in (0, 3, 6)]
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("trainer", [{}, {"val_check_interval": 0.5}])
def test_draws_of_a_module_do_not_change_the_data(tmp_path, trainer):
    base = copy.deepcopy(USER)
    base["model"] = {"class_path": "user_module.DrawsEverywhere"}
    base["trainer"] |= trainer
    none, many = trials_of(base, [0, 7], key="model.init_args.times")
    seen = batches_of(none, tmp_path)
    assert len(seen) == 9
    assert same_batches(seen, batches_of(many, tmp_path))


def test_a_module_may_use_its_logger_directly(tmp_path):
    base = copy.deepcopy(USER)
    base["model"] = {"class_path": "user_module.UsesItsLogger"}
    result = train(trials_of(base, [False, True])[0], tmp_path)
    assert result.status == "finished", result.error
    assert result.metrics["hidden"] == 2.0


def test_lightnings_default_logger_may_be_configured(tmp_path):
    base = copy.deepcopy(USER)
    base["trainer"]["logger"] = True
    trial = trials_of(base, [False, True])[0]
    assert train(trial, tmp_path).status == "finished"
    assert list((tmp_path / trial.trial_id).rglob("metrics.csv"))


def test_shipped_models_get_equal_data_for_equal_seeds(tmp_path):
    base = small_study()["base"]
    base["model"] = {"class_path": "lit_models.Perceptron"}
    levels = {
        "perceptron": {"class_path": "lit_models.Perceptron"},
        "conv": {"class_path": "lit_models.ConvNet", "init_args": {"filters": [2], "kernel_size": 3, "dropout": 0.3}},
    }
    trials = trials_of(base, levels, seeds=2, key="model")
    seen = {(trial.levels["f"], trial.seed): batches_of(trial, tmp_path) for trial in trials}
    assert same_batches(seen["perceptron", 0], seen["conv", 0])
    assert same_batches(seen["perceptron", 1], seen["conv", 1])
    assert not same_batches(seen["perceptron", 0], seen["perceptron", 1])


def test_an_error_in_the_users_code_is_a_failed_result(tmp_path):
    trial = trials_of(USER, ["raises", "exits"], key="model.init_args.fails")[0]
    result = train(trial, tmp_path)
    assert result.status == "failed"
    assert result.error.rstrip().endswith("ValueError: the user's own error")
    assert "in training_step" in result.error
    assert result.metrics == {}


def test_a_module_that_calls_exit_fails_its_trial_only(tmp_path):
    result = train(trials_of(USER, ["raises", "exits"], key="model.init_args.fails")[1], tmp_path)
    assert result.status == "failed"
    assert "SystemExit: 3" in result.error


def test_a_loss_that_is_not_finite_gives_a_diverged_result(tmp_path):
    result = train(trials_of(USER, ["", "diverges"], key="model.init_args.fails")[1], tmp_path)
    assert (result.status, result.diverged_epoch, result.metrics, result.error) == ("diverged", 1, {}, None)
    assert len(result.epochs) == 2
    assert math.isfinite(result.epochs[0]["train/loss"])
    assert math.isnan(result.epochs[1]["train/loss"])


def test_epoch_means_are_what_lightning_computes(tmp_path, monkeypatch):
    trial = trials_of(USER, [False, True])[0]
    ours = train(trial, tmp_path)
    monkeypatch.setattr(EpochMeans, "setup", lambda *_, **__: None)
    lightnings = train(trial, tmp_path)
    assert lightnings.status == "finished", lightnings.error
    for mine, theirs in zip([*ours.epochs, ours.metrics], [*lightnings.epochs, lightnings.metrics], strict=True):
        assert mine.keys() == theirs.keys()
        assert {"train/loss", "val/loss", "val/count", "epoch_number"} <= mine.keys()
        assert mine == pytest.approx(theirs, rel=1e-6)
    assert ours.epochs[0]["val/count"] == 12
    assert "test/loss" in ours.metrics


def test_early_stopping_finds_the_epoch_means(tmp_path):
    base = copy.deepcopy(USER)
    base["trainer"] |= {
        "max_epochs": 50,
        "callbacks": [
            {
                "class_path": "lightning.pytorch.callbacks.EarlyStopping",
                "init_args": {"monitor": "val/loss", "min_delta": 100.0, "patience": 2},
            }
        ],
    }
    result = train(trials_of(base, [False, True])[0], tmp_path)
    assert result.status == "finished"
    assert len(result.epochs) == 3


def test_epochs_without_validation_have_no_validation_metrics(tmp_path):
    base = copy.deepcopy(USER)
    base["trainer"]["check_val_every_n_epoch"] = 2
    result = train(trials_of(base, [False, True])[0], tmp_path)
    assert ["val/loss" in epoch for epoch in result.epochs] == [False, True, False]


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.*is deprecated")
def test_a_trial_equals_training_with_a_plain_trainer(tmp_path):
    """Additions to the Trainer change no arithmetic: equal start, batches and end."""
    import user_module

    from experiments.training.named_draws import NamedDraws
    from experiments.training.paired_streams import PairedStreams
    from experiments.training.streams import TrialStreams

    trial = trials_of(USER, [False, True])[0]
    ours = train(trial, tmp_path)
    model = NamedDraws(0).build(user_module.UserModule)
    data = user_module.UserData()
    streams = TrialStreams(0)
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[PairedStreams(streams, data)],
    )
    streams.split()
    trainer.fit(model, datamodule=data)
    theirs = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert theirs["val/loss"] == pytest.approx(ours.metrics["val/loss"], rel=1e-6)
    assert theirs["train/loss"] == pytest.approx(ours.metrics["train/loss"], rel=1e-6)


@pytest.mark.parametrize("sparse", [True, False])
def test_a_module_trains_with_sparse_gradients_and_no_validation(sparse, tmp_path):
    base = {
        "model": {"class_path": "bare_modules.SparseWords", "init_args": {"sparse": sparse}},
        "data": {"class_path": "bare_modules.TrainAndTest"},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    }
    for trial in trials_of(base, [0.1, 0.5], key="model.init_args.lr"):
        result = train(trial, tmp_path)
        assert result.status == "finished", result.error
        assert result.metrics.keys() == {"train/loss", "test/loss"}
    (group, *others) = group_trials(trials_of(base, [0.1, 0.5], key="model.init_args.lr"), num_slots=1)
    assert group.reason_not_fusable == ("SparseWords.vectors has sparse gradients" if sparse else None)
    assert len(others) == int(sparse)

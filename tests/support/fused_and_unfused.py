"""Trials of a small study, and a comparison of fused with unfused training."""

import pytest
import torch
from small_study import small_study

from experiments import parse_study
from experiments.config.instantiate import make_model
from experiments.fusing import group_trials
from experiments.fusing.trainer import FusedTrainer, prove_group
from experiments.planning.plan import plan_trials
from experiments.training.train import Training, train_trial

LR = "model.init_args.lr"


def trials_of(model, levels, key="model.init_args.init", seeds=2, data=None, **trainer):
    base = {
        "model": model,
        "data": data or {"class_path": "datamodules.Digits", "init_args": {"batch_size": 50}},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "precision": "64-true"} | trainer,
    }
    study = small_study(base=base, seeds=seeds, factors={"f": {"key": key, "levels": levels}})
    return plan_trials(parse_study(study))


def train_unfused(trial, tmp_path):
    return train_trial(Training(trial=trial, directory=tmp_path), lambda event: None)


def train_unfused_with_model(trial, tmp_path):
    """Train a trial. Return the result and the trained module."""
    made = []

    def make(*arguments):
        made.append(make_model(*arguments))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.training.train.make_model", make)
        return train_unfused(trial, tmp_path), made[-1]


def assert_equal(trials, tmp_path, tolerance=1e-9):
    """Compare status, epochs, metrics, parameters and buffers of one group with those of its unfused trials.

    A trial that stopped early continues in the stack, so its parameters differ there and are not compared.
    """
    (group,) = group_trials(trials, num_slots=1)
    assert group.reason_not_fusable is None
    proven = prove_group(group.trials)
    trainer = FusedTrainer(proven)
    trainer.fit(lambda event: None)
    results = trainer.make_results(seconds=0)
    longest = max(len(result.epochs) for result in results.values())
    for index, trial in enumerate(proven.setup.rows.trials):
        (one, model), fused = train_unfused_with_model(trial, tmp_path), results[trial.trial_id]
        assert one.error is None
        assert (one.status, one.num_parameters, one.diverged_epoch) == (
            fused.status,
            fused.num_parameters,
            fused.diverged_epoch,
        )
        assert len(one.epochs) == len(fused.epochs)
        assert one.correct == fused.correct
        for mine, theirs in zip([*fused.epochs, fused.metrics], [*one.epochs, one.metrics], strict=True):
            assert mine == pytest.approx(theirs, rel=tolerance, abs=tolerance, nan_ok=True)
        assert fused.backend == "fused"
        if len(fused.epochs) == longest:
            stacked = proven.stacked.parameters | proven.stacked.buffers
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                torch.testing.assert_close(stacked[name][index], tensor, rtol=tolerance, atol=tolerance)

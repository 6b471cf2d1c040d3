"""Trials of a small study, trained together and alone, and whether that comes to the same."""

import pytest
import torch
from small_study import small_study

from experiments import parse_study
from experiments.config.instantiate import make_model
from experiments.fusing import group_trials
from experiments.fusing.trainer import Together
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


def unfused(trial, tmp_path):
    return train_trial(Training(trial=trial, directory=tmp_path), lambda event: None)


def unfused_with_model(trial, tmp_path):
    """The result, and the module as training left it."""
    made = []

    def make(*arguments):
        made.append(make_model(*arguments))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.training.train.make_model", make)
        return unfused(trial, tmp_path), made[-1]


def assert_equal(trials, tmp_path, tolerance=1e-9):
    """One group of all trials gives what each gives alone: status, epochs, metrics, parameters, buffers.

    A trial that stopped early goes on in the stack, so its parameters are others there.
    """
    (group,) = group_trials(trials, num_slots=1)
    assert group.reason_not_fusable is None
    together = Together(group.trials)
    together.fit(lambda event: None)
    longest = max(len(epochs) for epochs in together.epochs)
    for place, trial in enumerate(together.trials):
        (one, model), fused = unfused_with_model(trial, tmp_path), together.result(place, 0)
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
            stacked = together.stacked.parameters | together.stacked.buffers
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                torch.testing.assert_close(stacked[name][place], tensor, rtol=tolerance, atol=tolerance)

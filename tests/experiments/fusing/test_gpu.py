"""Fused training on a GPU: equal to a CPU, and no synchronisation within a step."""

import pytest
import torch
from small_study import small_study

from experiments import parse_study
from experiments.fusing import train_in_one_loop
from experiments.fusing.trainer import FusedTrainer, prove_group
from experiments.planning.plan import plan_trials

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


MLP = {"class_path": "lit_models.MLP", "init_args": {"hidden": [12, 8], "batch_norm": True}}
DIGITS = {"class_path": "datamodules.Digits", "init_args": {"batch_size": 50}}
INIT = ("model.init_args.init", ["he", "xavier"])


def trials_on(accelerator, model=MLP, data=DIGITS, factor=INIT, **trainer):
    base = {
        "model": model,
        "data": data,
        "trainer": {"max_epochs": 2, "accelerator": accelerator} | trainer,
    }
    factors = {"f": {"key": factor[0], "levels": factor[1]}}
    return plan_trials(parse_study(small_study(base=base, seeds=2, factors=factors)))


WORDS = {
    "model": {"class_path": "text_modules.Bag", "init_args": {"dropout": 0.0}},  # a GPU draws other masks
    "data": {"class_path": "text_modules.Sentences"},
    "factor": ("model.init_args.lr", [0.003, 0.05]),
}


@pytest.mark.parametrize("what", [{}, WORDS], ids=["digits", "words"])
def test_gpu_and_cpu_give_equal_metrics(what):
    on_cpu = train_in_one_loop(trials_on("cpu", **what, precision="64-true"), lambda event: None)
    on_gpu = train_in_one_loop(trials_on("gpu", **what, precision="64-true"), lambda event: None)
    for trial_id, result in on_gpu.items():  # the device is not part of a trial's id
        assert result.device.startswith("cuda")
        assert result.metrics == pytest.approx(on_cpu[trial_id].metrics, rel=1e-9, abs=1e-9)


def test_a_step_does_not_synchronise_with_the_device():
    group = prove_group(trials_on("gpu"))
    trainer, batches = FusedTrainer(group), list(group.first_epoch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.train_epoch(0, batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")

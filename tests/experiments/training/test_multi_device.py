"""Training of one trial on several devices: two processes on the CPU, joined by gloo, and one result."""

import pytest
from slow import slow_except
from small_study import small_study

from experiments import Ledger, RunOptions, Sink, parse_study, run


def ranked(fault="", folder="", devices=2, strategy="ddp", lrs=(0.1, 0.2), seeds=1, **trainer):
    base = {
        "model": {"class_path": "ranked_module.Ranked", "init_args": {"fault": fault, "folder": str(folder)}},
        "data": {"class_path": "ranked_module.Points"},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "devices": devices, "strategy": strategy} | trainer,
    }
    factors = {"lr": {"key": "model.init_args.lr", "levels": list(lrs)}}
    metric = {"name": "test/loss", "goal": "min"}
    return parse_study(small_study(base=base, factors=factors, seeds=seeds, metric=metric), name="ranked")


def digits(devices, batch_size, **trainer):
    """Digits whose first 20 steps read the same examples on one device and, in batches half as large, on two."""
    study = small_study(seeds=2)
    study["base"]["model"]["init_args"]["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    study["base"]["data"]["init_args"]["batch_size"] = batch_size
    study["base"]["trainer"] |= {
        "max_epochs": 2,
        "limit_train_batches": 20,
        "precision": "64-true",
        "devices": devices,
        "strategy": "ddp" if devices > 1 else "auto",
    } | trainer
    return parse_study(study, name="digits")


def trials_of(directory):
    with Ledger(directory / "ledger.sqlite", writable=False) as ledger:
        return [ledger.trial(row["trial_id"]) for row in ledger.trials()]


class Epochs(Sink):
    """Sink that records epochs."""

    def __init__(self):
        self.told = []

    def on_epoch_ended(self, trial, event):
        self.told.append((trial.trial_id, event.epoch))


@pytest.mark.parametrize("strategy", slow_except(["ddp", "ddp_spawn", "auto"], "ddp"))
def test_each_trial_has_one_result_and_not_one_per_rank(strategy, tmp_path):
    sink = Epochs()
    outcome = run(ranked(strategy=strategy), tmp_path / "s", RunOptions(num_slots=2), [sink])
    assert outcome.counts["finished"] == outcome.num_trained == 2
    for trial in trials_of(tmp_path / "s"):
        assert trial["device"] == "2 x cpu"
        assert trial["why_alone"] == "trainer.devices is 2, and a group is trained on one device"
        assert [attempt["status"] for attempt in trial["history"]] == ["finished"]
        assert trial["num_parameters"] == 5
        assert [told for told in sink.told if told[0] == trial["trial_id"]] == [
            (trial["trial_id"], 0),
            (trial["trial_id"], 1),
        ]


def test_metrics_count_each_example_once(tmp_path):
    run(ranked(), tmp_path / "s", RunOptions(num_slots=2))
    for trial in trials_of(tmp_path / "s"):
        metrics = trial["metrics"]
        assert metrics["val/count"] == 12  # a rank's half would be 6, and a sum over both 24
        assert metrics["val/rank"] == 0  # metrics are of rank 0's model
        assert metrics["train/examples"] == 4  # 40 examples in 10 batches of 4, 5 a rank


@pytest.mark.slow
def test_two_devices_equal_one_with_twice_the_batch_size(tmp_path):
    """DDP's mean of the ranks' gradients is the gradient of both batches, if they have the same examples."""
    run(digits(devices=2, batch_size=8), tmp_path / "two", RunOptions(num_slots=2))
    run(digits(devices=1, batch_size=16, strategy="auto"), tmp_path / "one", RunOptions(num_slots=2, fuse="never"))
    two, one = trials_of(tmp_path / "two"), trials_of(tmp_path / "one")
    assert len(two) == len(one) == 4
    for of_two, of_one in zip(two, one, strict=True):
        assert (of_two["levels"], of_two["seed"]) == (of_one["levels"], of_one["seed"])
        assert of_two["metrics"] == pytest.approx(of_one["metrics"], rel=1e-9)
        assert of_two["epochs"] == [pytest.approx(epoch, rel=1e-9) for epoch in of_one["epochs"]]
        assert of_two["correct"] == of_one["correct"]
        assert of_two["trial_id"] != of_one["trial_id"]


def test_an_error_in_any_rank_is_the_trials_error(tmp_path):
    outcome = run(ranked("raise", lrs=(0.1, 0.2)), tmp_path / "s", RunOptions(num_slots=2))
    assert outcome.counts["failed"] == 2
    for trial in trials_of(tmp_path / "s"):
        assert trial["error"].rstrip().endswith("ValueError: the last rank's own error")
        assert len(trial["history"]) == 1


def test_a_loss_that_is_not_finite_on_one_device_is_a_divergence(tmp_path):
    outcome = run(ranked("nan", max_epochs=4), tmp_path / "s", RunOptions(num_slots=2))
    assert outcome.counts["diverged"] == 2
    assert {trial["diverged_epoch"] for trial in trials_of(tmp_path / "s")} == {1}


@pytest.mark.slow
def test_a_trial_with_a_killed_rank_is_trained_again(tmp_path):
    (tmp_path / "armed").touch()
    outcome = run(ranked("kill", tmp_path), tmp_path / "s", RunOptions(num_slots=2))
    assert outcome.counts["finished"] == 2
    histories = [trial["history"] for trial in trials_of(tmp_path / "s")]
    assert sorted([attempt["status"] for attempt in history] for history in histories) == [
        ["finished"],
        ["lost", "finished"],
    ]
    (lost,) = [attempt for history in histories for attempt in history if attempt["status"] == "lost"]
    assert lost["error"] == "process 1 of 2 that trained one trial was ended by SIGKILL"


@pytest.mark.slow
def test_a_timeout_ends_all_processes_of_a_trial(tmp_path):
    outcome = run(
        ranked(max_epochs=100_000, lrs=(0.1, 0.2)), tmp_path / "s", RunOptions(num_slots=2, timeout_seconds=4)
    )
    assert outcome.counts["failed"] == 2
    assert {trial["error"] for trial in trials_of(tmp_path / "s")} == {"took longer than the 4 s that --timeout gives"}


@pytest.mark.slow
def test_a_slurm_or_torchrun_job_around_a_trial_is_ignored(tmp_path, monkeypatch):
    """Lightning would wait for tasks that SLURM never starts, or refuse another number of devices than of tasks."""
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_JOB_NAME": "sweep",
        "SLURM_PROCID": "0",
        "SLURM_JOB_ID": "7",
    }.items():
        monkeypatch.setenv(name, value)
    for devices in (1, 2):
        study = ranked(devices=devices, strategy="auto")
        outcome = run(study, tmp_path / f"s{devices}", RunOptions(runner="inline", fuse="never"))
        assert outcome.counts["finished"] == 2

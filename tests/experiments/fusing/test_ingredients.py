"""Fused equals unfused for losses, penalties, optimizers and batch sizes."""

import pytest
from fused_and_unfused import assert_equal, trials_of
from slow import slow, slow_except

from experiments.fusing import group_trials, train_in_one_loop

LR = "model.init_args.optimizer.init_args.lr"
LOSSES = ["cross_entropy", "nll", "mse", "l1", "bce"]
ODD_OR_EVEN = {"class_path": "small_data.OddOrEven", "init_args": {"batch_size": 50}}


def mlp(**init_args):
    return {"class_path": "lit_models.MLP", "init_args": {"hidden": [8]} | init_args}


@pytest.mark.parametrize("loss", [*map(slow, LOSSES), {"cross_entropy": 0.7, "mse": 0.3}], ids=str)
def test_every_loss_fuses(loss, tmp_path):
    assert_equal(trials_of(mlp(loss=loss), [0.003, 0.01], key=LR, seeds=1), tmp_path)


@pytest.mark.parametrize("loss", [slow("mse"), slow("bce"), {"bce": 0.7, "l1": 0.3}], ids=str)
def test_losses_of_one_logit_fuse(loss, tmp_path):
    model = mlp(loss=loss, head="sigmoid")
    assert_equal(trials_of(model, [0.003, 0.01], key=LR, seeds=1, data=ODD_OR_EVEN), tmp_path)


def test_each_loss_has_its_own_group():
    levels = {"one": "cross_entropy", "other": "mse", "both": {"cross_entropy": 0.7, "mse": 0.3}}
    groups = group_trials(trials_of(mlp(), levels, key="model.init_args.loss"), num_slots=1)
    assert [len(group.trials) for group in groups] == [2, 2, 2]
    assert all(group.is_fused for group in groups)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["l1", slow("l2")])
def test_penalties_share_a_group(kind, tmp_path):
    assert_equal(trials_of(mlp(), [0.0, 0.001, 0.1], key=f"model.init_args.{kind}"), tmp_path)


def test_trials_without_a_penalty_have_their_own_group():
    trials = trials_of(mlp(), {"none": None, "0": 0.0, "0.1": 0.1}, key="model.init_args.l1")
    assert [len(group.trials) for group in group_trials(trials, num_slots=1)] == [2, 4]


# --- numbers instead of classes ---

DIABETES = {"class_path": "datamodules.Diabetes", "init_args": {"batch_size": 40}}


@pytest.mark.parametrize("loss", [slow("mse"), slow("l1"), "huber", slow({"mse": 0.5, "l1": 2.0})], ids=str)
def test_regression_fuses(loss, tmp_path):
    model = {"class_path": "lit_models.MLPRegressor", "init_args": {"hidden": [8], "dropout": 0.2, "loss": loss}}
    trials = trials_of(model, [0.003, 0.01], key=LR, data=DIABETES)
    assert_equal(trials, tmp_path)
    for result in train_in_one_loop(trials, lambda event: None).values():
        of_split = {"loss", "mae", "rmse", "r2"}
        assert result.metrics.keys() == {
            "train/loss",
            "train/mae",
            *(f"{split}/{name}" for split in ("val", "test") for name in of_split),
        }
        assert result.correct is None


def test_regression_in_folds_fuses(tmp_path):
    model = {"class_path": "lit_models.MLPRegressor", "init_args": {"hidden": [8], "l1": 0.001}}
    data = {"class_path": "datamodules.Diabetes", "init_args": {"folds": 2, "batch_size": "all"}}
    assert_equal(trials_of(model, [0.003, 0.01], key=LR, data=data), tmp_path)


# --- images ---


@pytest.mark.parametrize(
    "convolutions",
    [
        slow({"filters": [6], "kernel_size": 5, "padding": "same", "pool": "avg", "pool_size": 4}),
        slow({"filters": [6, 4], "kernel_size": 5, "stride": 2, "pool": "none"}),
        {"filters": [6], "kernel_size": 5, "pool": "max", "pool_size": 4, "loss": "mse"},
    ],
    ids=str,
)
def test_convolutions_over_colour_images_fuse(convolutions, tmp_path):
    model = {"class_path": "lit_models.ConvNet", "init_args": convolutions}
    data = {"class_path": "datamodules.Shapes", "init_args": {"num_images": 80, "batch_size": 28}}
    assert_equal(trials_of(model, [0.003, 0.01], key=LR, data=data), tmp_path)


def test_permuted_pixels_in_folds_fuse(tmp_path):
    data = {"class_path": "datamodules.Digits", "init_args": {"permute_pixels": True, "folds": 3, "batch_size": "all"}}
    assert_equal(trials_of(mlp(), [0.003, 0.01], key=LR, data=data, seeds=3), tmp_path)


# --- memory ---

CELLS = {"rnn": {}, "lstm": {"forget_bias": 1.0}, "gru": {"num_layers": 2, "bidirectional": True, "dropout": 0.2}}


@pytest.mark.slow
@pytest.mark.parametrize("cell", slow_except(CELLS, "gru"))
def test_the_adding_problem_with_clipped_gradients_fuses(cell, tmp_path):
    model = {
        "class_path": "lit_models.SequenceRegressor",
        "init_args": {"cell": cell, "hidden_size": 5} | CELLS[cell],
    }
    data = {"class_path": "datamodules.AddingProblem", "init_args": {"length": 10, "num_sequences": 200}}
    assert_equal(trials_of(model, [0.003, 0.03], key=LR, data=data, gradient_clip_val=0.05), tmp_path)


@pytest.mark.parametrize("cell", slow_except(CELLS, "gru"))
def test_images_as_sequences_of_rows_fuse(cell, tmp_path):
    model = {
        "class_path": "lit_models.SequenceClassifier",
        "init_args": {"cell": cell, "hidden_size": 5} | CELLS[cell],
    }
    data = {"class_path": "datamodules.Digits", "init_args": {"batch_size": 100, "train_size": 300}}
    assert_equal(trials_of(model, [0.003, 0.03], key=LR, data=data, seeds=1), tmp_path)


def test_lengths_and_kinds_of_recurrent_cell_are_factors():
    model = {"class_path": "lit_models.SequenceRegressor", "init_args": {"hidden_size": 5}}
    data = {"class_path": "datamodules.AddingProblem", "init_args": {"num_sequences": 200}}
    of_lengths = trials_of(model, [10, 50, 100, 200], key="data.init_args.length", data=data)
    assert [len(group.trials) for group in group_trials(of_lengths, num_slots=1)] == [2, 2, 2, 2]
    assert {trial.config["data"]["init_args"]["length"] for trial in of_lengths} == {10, 50, 100, 200}
    of_cells = trials_of(model, [*CELLS], key="model.init_args.cell", data=data)
    assert [len(group.trials) for group in group_trials(of_cells, num_slots=1)] == [2, 2, 2]

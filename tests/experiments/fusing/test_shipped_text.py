"""Shipped networks for text on shipped data: fused equals unfused, with dropout, folds and both heads."""

import pytest
from fused_and_unfused import assert_equal, train_unfused, trials_of
from slow import slow_except

from experiments.fusing import group_trials, train_fused, train_in_one_loop
from experiments.fusing.groups import CONVOLUTIONS
from experiments.fusing.reasons import OtherShapes
from experiments.trials.trial import NotFused

LR = "model.init_args.optimizer.init_args.lr"
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}}
HALVING = {"class_path": "torch.optim.lr_scheduler.ExponentialLR", "init_args": {"gamma": 0.5}}
TOKENS = {"representation": "tokens", "length": 20, "vocabulary_size": 150}
WORDS = {"embedding_size": 6}

NETWORKS = {
    "perceptron": ("Perceptron", {}, {"vocabulary_size": 200}),
    "perceptron of n-grams": ("Perceptron", {}, {"vocabulary_size": 200, "ngrams": [1, 2], "weighting": "tfidf"}),
    "MLP": ("MLP", {"hidden": [8], "dropout": 0.3, "batch_norm": True}, {"vocabulary_size": 200}),
    "mean embedding": ("MeanEmbedding", WORDS | {"hidden": [8], "dropout": 0.3}, TOKENS),
    "TextConvNet": ("TextConvNet", WORDS | {"widths": [2, 3], "num_maps": 4, "dropout": 0.3}, TOKENS),
    "RNN": ("Recurrent", WORDS | {"cell": "rnn", "hidden_size": 5, "dropout": 0.3}, TOKENS),
    "LSTM": ("Recurrent", WORDS | {"cell": "lstm", "hidden_size": 5, "forget_bias": 1.0}, TOKENS),
    "GRU": ("Recurrent", WORDS | {"cell": "gru", "hidden_size": 5, "num_layers": 2, "bidirectional": True}, TOKENS),
}


def trials(name, levels=(0.003, 0.01), key=LR, model=None, data=None, **trainer):
    network, own_model, own_data = NETWORKS[name]
    model = {
        "class_path": f"lit_models.{network}",
        "init_args": {"optimizer": ADAM, "lr_scheduler": HALVING} | own_model | (model or {}),
    }
    data = {
        "class_path": "datamodules.SyntheticReviews",
        "init_args": {"num_reviews": 120, "eval_batch_size": 10} | own_data | (data or {}),
    }
    return trials_of(model, list(levels), key=key, data=data, max_epochs=3, **trainer)


@pytest.mark.parametrize("head", ["softmax", pytest.param("sigmoid", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", slow_except(NETWORKS, "mean embedding"))
def test_fused_equals_unfused(name, head, tmp_path):
    assert_equal(trials(name, model={"head": head}), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["perceptron", "mean embedding", "GRU"])
def test_folds_without_validation_fuse(name, tmp_path):
    assert_equal(trials(name, data={"folds": 3, "val_size": 0}), tmp_path)


def test_seeds_share_a_loop_with_a_vocabulary_size():
    assert [len(group.trials) for group in group_trials(trials("GRU"), num_slots=1)] == [4]


def test_heads_do_not_share_a_loop():
    groups = group_trials(trials("GRU", levels=["softmax", "sigmoid"], key="model.init_args.head"), num_slots=1)
    assert [len(group.trials) for group in groups] == [2, 2]


def test_shipped_convolutions_over_words_are_unfused_on_a_cpu():
    groups = group_trials(trials("TextConvNet"), num_slots=1, only_where_faster=True)
    assert {group.reason_not_fusable for group in groups} == {CONVOLUTIONS}


@pytest.mark.slow
def test_levels_of_a_seed_share_a_loop_without_a_vocabulary_size(tmp_path):
    of_all = trials("perceptron", data={"vocabulary_size": None}, seeds=3)
    (group,) = group_trials(of_all, num_slots=1)
    with pytest.raises(OtherShapes, match="the seeds' networks have parameters of different shapes"):
        train_in_one_loop(group.trials, lambda event: None)
    results = dict(train_fused(group.trials, lambda event: None))
    for trial in of_all:
        unfused, fused = train_unfused(trial, tmp_path), results[trial.trial_id]
        assert (fused.backend, unfused.backend) == ("fused", "lightning")
        assert fused.metrics == pytest.approx(unfused.metrics, rel=1e-9)


def test_seeds_with_different_vocabularies_give_a_reason():
    of_level = [trial for trial in trials("perceptron", data={"vocabulary_size": None}) if trial.levels["f"] == "0.01"]
    found = train_fused(of_level, lambda event: None)
    assert found == NotFused(
        reason="the seeds' networks have parameters of different shapes; if each seed has its own vocabulary, a "
        "vocabulary_size in the data gives all seeds one shape"
    )


@pytest.mark.slow
def test_folds_that_differ_by_an_example_split_a_group(tmp_path):
    of_all = trials("mean embedding", seeds=3, data={"num_reviews": 122, "folds": 3, "batch_size": 20})
    (group,) = group_trials(of_all, num_slots=1)
    with pytest.raises(OtherShapes, match="the seeds' batches differ in size") as raised:
        train_in_one_loop(group.trials, lambda event: None)
    assert len(set(raised.value.shapes_by_trial.values())) == 2
    fused = dict(train_fused(group.trials, lambda event: None))
    for trial in of_all:
        assert fused[trial.trial_id].backend == "fused"
        assert fused[trial.trial_id].metrics == pytest.approx(train_unfused(trial, tmp_path).metrics, rel=1e-9)

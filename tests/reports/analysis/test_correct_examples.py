"""Correct test examples from a ledger: loading, checks of the test set, and comparison."""

from dataclasses import replace

import numpy as np
import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor

from experiments import Correct, InputError
from experiments.trials.trial import TrialStatus
from reports import (
    estimate_seed_and_example_variance,
    load_correct_examples,
    load_seed_and_example_variance,
    load_trials,
)

NUM_EXAMPLES = 203
ACCURACY = {"sigmoid": 0.6, "tanh": 0.7, "relu": 0.9, "a": 0.6, "b": 0.8}


def right(levels, seed):
    """Draw (N,) from the levels and the seed."""
    draws = np.random.default_rng([seed, *map(ord, "".join(levels.values()))])
    shared = np.random.default_rng(7).random(NUM_EXAMPLES)
    accuracy = next(ACCURACY[level] for level in levels.values() if level in ACCURACY)
    return 0.7 * shared + 0.3 * draws.random(NUM_EXAMPLES) < accuracy


def measured(levels, seed, **changes):
    bits = np.packbits(right(levels, seed)).tobytes()
    correct = Correct(num_examples=NUM_EXAMPLES, bits=bits, targets="t", examples="e")
    return make_result(right(levels, seed).mean(), correct=replace(correct, **changes))


def test_correct_examples_are_loaded_trial_by_trial(tmp_path):
    study = make_study()
    table = load_correct_examples(make_ledger(tmp_path, study, measured))
    trials = load_trials(tmp_path)
    assert list(table.trial_ids) == trials["trial_id"].tolist()
    assert (table.is_correct.dtype, table.is_correct.shape) == (np.bool_, (30, NUM_EXAMPLES))
    assert table.is_correct.mean(axis=1).tolist() == pytest.approx(trials["test/acc"].tolist())
    for row, record in enumerate(trials.to_dict("records")):
        levels = {"activation": record["activation"], "init": record["init"]}
        assert np.array_equal(table.is_correct[row], right(levels, record["seed"]))


def test_the_table_has_one_row_per_main_effect(tmp_path):
    table = load_seed_and_example_variance(make_ledger(tmp_path, make_study(), measured))
    assert table[["factor", "level", "reference", "n_seeds", "n_examples"]].to_numpy().tolist() == [
        ["activation", "tanh", "sigmoid", 5, NUM_EXAMPLES],
        ["activation", "relu", "sigmoid", 5, NUM_EXAMPLES],
        ["init", "he", "xavier", 5, NUM_EXAMPLES],
    ]
    assert (table["ci_low"] < table["mean_difference"]).all()
    assert (table["mean_difference"] < table["ci_high"]).all()
    assert table.notna().all(axis=None)
    assert load_seed_and_example_variance(tmp_path).equals(table)


def test_a_row_compares_the_means_over_contexts(tmp_path):
    row = load_seed_and_example_variance(make_ledger(tmp_path, make_study(), measured), seed=3, resamples=100).iloc[1]
    level, reference = (
        np.array(
            [
                np.mean([right({"activation": name, "init": init}, seed) for init in ("xavier", "he")], axis=0)
                for seed in range(5)
            ]
        )
        for name in ("relu", "sigmoid")
    )
    found = estimate_seed_and_example_variance(level, reference, np.random.default_rng(3), 100)
    names = {"mean_difference": "mean"}
    for name in ("mean_difference", "ci_low", "ci_high", "sd_seeds", "sd_examples", "sd_rest", "standard_error"):
        assert row[name] == getattr(found, names.get(name, name))
    assert (row["bootstrap_low"], row["bootstrap_high"]) == (found.bootstrap_low, found.bootstrap_high)
    accuracy = reference.mean()
    assert row["binomial_error"] == pytest.approx(np.sqrt(accuracy * (1 - accuracy) / NUM_EXAMPLES))


def test_the_difference_is_that_of_the_logged_accuracy(tmp_path):
    (row,) = load_seed_and_example_variance(make_ledger(tmp_path, one_factor(), measured)).to_dict("records")
    means = load_trials(tmp_path).groupby("x", observed=True)["test/acc"].mean()
    assert row["mean_difference"] == pytest.approx(means["b"] - means["a"])


def test_the_sentence_names_what_the_interval_covers(tmp_path):
    (row,) = load_seed_and_example_variance(make_ledger(tmp_path, one_factor(), measured)).to_dict("records")
    names = ("mean_difference", "ci_low", "ci_high", "sd_seeds", "sd_examples")
    mean, low, high, seeds, examples = (100 * row[name] for name in names)
    assert row["sentence"] == (
        f"b - a: +{mean:.1f} percentage points of test accuracy (95 % confidence interval over seeds and test examples "
        f"+{low:.1f} to +{high:.1f}, 5 seeds and 203 examples); the standard deviation of the difference is "
        f"{seeds:.1f} between seeds and {examples:.1f} between test sets of this size, which more seeds do not reduce"
    )


def test_a_seed_with_a_trial_that_diverged_is_left_out(tmp_path):
    def measure(levels, seed):
        return make_result(status=TrialStatus.DIVERGED) if (levels["x"], seed) == ("b", 2) else measured(levels, seed)

    (row,) = load_seed_and_example_variance(make_ledger(tmp_path, one_factor(), measure)).to_dict("records")
    assert row["n_seeds"] == 4
    assert len(load_correct_examples(tmp_path).trial_ids) == 9


@pytest.mark.parametrize("num_seeds", [0, 1])
def test_fewer_than_two_seeds_have_no_interval(tmp_path, num_seeds):
    def measure(levels, seed):
        return measured(levels, seed) if levels["x"] == "a" or seed < num_seeds else make_result(0.5)

    (row,) = load_seed_and_example_variance(make_ledger(tmp_path, one_factor(), measure)).to_dict("records")
    assert np.isnan([row["mean_difference"], row["ci_low"], row["sd_seeds"]]).all()
    assert row["sentence"] == (
        f"b - a: an interval needs two complete seeds and two test examples; there are {num_seeds} and {NUM_EXAMPLES}"
    )


def test_a_study_with_one_seed_has_columns_and_no_rows(tmp_path):
    table = load_seed_and_example_variance(make_ledger(tmp_path, one_factor(seeds=1), measured))
    assert len(table) == 0
    assert {"mean_difference", "sd_seeds", "sentence"} <= set(table)


def test_levels_may_be_other_representations_of_the_same_examples(tmp_path):
    def measure(levels, seed):
        return measured(levels, seed, examples=levels["x"])

    assert len(load_seed_and_example_variance(make_ledger(tmp_path, one_factor(), measure))) == 1


def test_without_targets_the_examples_must_be_equal(tmp_path):
    study = one_factor()
    make_ledger(tmp_path / "same", study, lambda levels, seed: measured(levels, seed, targets=None))
    assert len(load_seed_and_example_variance(tmp_path / "same")) == 1
    make_ledger(
        tmp_path / "other", study, lambda levels, seed: measured(levels, seed, targets=None, examples=levels["x"])
    )
    with pytest.raises(
        InputError, match=r"x=a, seed=0 and x=b, seed=0 were tested on different examples or in a different"
    ):
        load_correct_examples(tmp_path / "other")


@pytest.mark.parametrize("read", [load_correct_examples, load_seed_and_example_variance])
def test_without_a_record_the_message_says_what_to_return(tmp_path, read):
    make_ledger(tmp_path, one_factor(), lambda levels, seed: make_result(0.5))
    with pytest.raises(
        InputError, match=r"sqlite: no trial recorded which test examples it classified.* Let test_step return"
    ):
        read(tmp_path)


PER_SEED = r"x=a: seeds 0 and 1 were not tested on the same examples in the same order, for example because each seed "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda levels, seed: {"examples": str(seed)}, PER_SEED),
        (lambda levels, seed: {"targets": str(seed)}, PER_SEED),
        (
            lambda levels, seed: {"targets": levels["x"]},
            "x=a, seed=0 and x=b, seed=0 were tested on different examples",
        ),
        (
            lambda levels, seed: {"num_examples": NUM_EXAMPLES - (seed == 3)},
            "x=a, seed=0 was tested on 203 examples, x=a, seed=3 on 202; seeds and examples can only be crossed on",
        ),
    ],
)
def test_different_test_sets_are_rejected(tmp_path, changes, message):
    make_ledger(tmp_path, one_factor(), lambda levels, seed: measured(levels, seed, **changes(levels, seed)))
    with pytest.raises(InputError, match=message):
        load_correct_examples(tmp_path)


def test_unknown_test_examples_are_rejected(tmp_path):
    make_ledger(tmp_path, one_factor(), lambda levels, seed: measured(levels, seed, examples=None))
    with pytest.raises(InputError, match=r"the test examples of x=a, seed=0 are unknown"):
        load_correct_examples(tmp_path)


def test_folds_are_not_crossed(tmp_path):
    make_ledger(tmp_path, one_factor(folds=5), measured)
    with pytest.raises(InputError, match=r"seeds are folds with different test examples"):
        load_correct_examples(tmp_path)

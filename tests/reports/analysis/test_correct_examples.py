"""Which examples were right, from a ledger: read, checked to be of one test set, and compared."""

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
    """Drawn from the levels and the seed alone; (N,)."""
    draws = np.random.default_rng([seed, *map(ord, "".join(levels.values()))])
    shared = np.random.default_rng(7).random(NUM_EXAMPLES)
    accuracy = next(ACCURACY[level] for level in levels.values() if level in ACCURACY)
    return 0.7 * shared + 0.3 * draws.random(NUM_EXAMPLES) < accuracy


def measured(levels, seed, **changes):
    bits = np.packbits(right(levels, seed)).tobytes()
    correct = Correct(num_examples=NUM_EXAMPLES, bits=bits, targets="t", examples="e")
    return make_result(right(levels, seed).mean(), correct=replace(correct, **changes))


def test_bits_come_back_trial_by_trial(tmp_path):
    study = make_study()
    table = load_correct_examples(make_ledger(tmp_path, study, measured))
    trials = load_trials(tmp_path)
    assert list(table.trial_ids) == trials["trial_id"].tolist()
    assert (table.is_correct.dtype, table.is_correct.shape) == (np.bool_, (30, NUM_EXAMPLES))
    assert table.is_correct.mean(axis=1).tolist() == pytest.approx(trials["test/acc"].tolist())
    for row, record in enumerate(trials.to_dict("records")):
        levels = {"activation": record["activation"], "init": record["init"]}
        assert np.array_equal(table.is_correct[row], right(levels, record["seed"]))


def test_the_table_has_a_row_a_main_contrast(tmp_path):
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


def test_a_row_is_the_crossed_comparison_of_the_means_over_contexts(tmp_path):
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
        f"b - a: +{mean:.1f} points of test accuracy, the interval over other seeds and other test examples "
        f"+{low:.1f} to +{high:.1f} (95 %, 5 seeds and 203 examples); the difference varies by {seeds:.1f} from "
        f"seed to seed and by {examples:.1f} from one such test set to the next, which more seeds leave as it is"
    )


def test_a_seed_with_a_trial_that_diverged_is_left_out(tmp_path):
    def measure(levels, seed):
        return make_result(status=TrialStatus.DIVERGED) if (levels["x"], seed) == ("b", 2) else measured(levels, seed)

    (row,) = load_seed_and_example_variance(make_ledger(tmp_path, one_factor(), measure)).to_dict("records")
    assert row["n_seeds"] == 4
    assert len(load_correct_examples(tmp_path).trial_ids) == 9


@pytest.mark.parametrize("num_seeds", [0, 1])
def test_fewer_than_two_seeds_have_no_interval_and_say_so(tmp_path, num_seeds):
    def measure(levels, seed):
        return measured(levels, seed) if levels["x"] == "a" or seed < num_seeds else make_result(0.5)

    (row,) = load_seed_and_example_variance(make_ledger(tmp_path, one_factor(), measure)).to_dict("records")
    assert np.isnan([row["mean_difference"], row["ci_low"], row["sd_seeds"]]).all()
    counted = "0 seeds" if num_seeds == 0 else "1 seed"
    assert row["sentence"] == f"b - a: {counted} with all trials tested; an interval needs two"


def test_a_study_of_one_seed_has_no_rows_but_its_columns(tmp_path):
    table = load_seed_and_example_variance(make_ledger(tmp_path, one_factor(seeds=1), measured))
    assert len(table) == 0
    assert {"mean_difference", "sd_seeds", "sentence"} <= set(table)


def test_levels_may_be_other_representations_of_the_same_examples(tmp_path):
    def measure(levels, seed):
        return measured(levels, seed, examples=levels["x"])

    assert len(load_seed_and_example_variance(make_ledger(tmp_path, one_factor(), measure))) == 1


def test_without_targets_the_examples_decide(tmp_path):
    study = one_factor()
    make_ledger(tmp_path / "same", study, lambda levels, seed: measured(levels, seed, targets=None))
    assert len(load_seed_and_example_variance(tmp_path / "same")) == 1
    make_ledger(
        tmp_path / "other", study, lambda levels, seed: measured(levels, seed, targets=None, examples=levels["x"])
    )
    with pytest.raises(
        InputError, match=r"x=a, seed=0 and x=b, seed=0 were tested on different examples, or in another"
    ):
        load_correct_examples(tmp_path / "other")


@pytest.mark.parametrize("read", [load_correct_examples, load_seed_and_example_variance])
def test_nothing_stored_says_what_to_return(tmp_path, read):
    make_ledger(tmp_path, one_factor(), lambda levels, seed: make_result(0.5))
    with pytest.raises(
        InputError, match=r"sqlite: no trial says which test examples it had right.* test_step has to re"
    ):
        read(tmp_path)


OWN = (
    r"x=a: seeds 0 and 1 were not tested on the same examples in the same order, as far as is known: a split, an order "
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda levels, seed: {"examples": str(seed)}, OWN),
        (lambda levels, seed: {"targets": str(seed)}, OWN),
        (
            lambda levels, seed: {"targets": levels["x"]},
            "x=a, seed=0 and x=b, seed=0 were tested on different examples",
        ),
        (
            lambda levels, seed: {"num_examples": NUM_EXAMPLES - (seed == 3)},
            "x=a, seed=0 was tested on 203 examples and x=a, seed=3 on 202; seeds and examples can only be crossed on",
        ),
    ],
)
def test_other_test_sets_are_not_crossed(tmp_path, changes, message):
    make_ledger(tmp_path, one_factor(), lambda levels, seed: measured(levels, seed, **changes(levels, seed)))
    with pytest.raises(InputError, match=message):
        load_correct_examples(tmp_path)


def test_examples_that_are_no_tensors_cannot_be_told_apart(tmp_path):
    make_ledger(tmp_path, one_factor(), lambda levels, seed: measured(levels, seed, examples=None))
    with pytest.raises(InputError, match=r"it is not known on which examples x=a, seed=0 was tested"):
        load_correct_examples(tmp_path)


def test_folds_are_not_crossed(tmp_path):
    make_ledger(tmp_path, one_factor(folds=5), measured)
    with pytest.raises(InputError, match=r"seeds are folds, each tested on examples of its own"):
        load_correct_examples(tmp_path)

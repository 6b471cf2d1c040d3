import math

import numpy as np
import pytest
from make_ledger import make_study, one_factor
from scipy import stats
from statsmodels.stats.multitest import multipletests

from experiments.trials.trial import TrialStatus
from reports.analysis.cells import collect_outcomes
from reports.analysis.divergence import outcome_rate_table
from reports.analysis.interactions import COLUMNS, estimate_interaction, interaction_table
from reports.statistics.rates import wilson_interval
from tests.reports.analysis.test_contrasts import noisy, row, trials_of


def interactions_of(study, trials):
    return interaction_table(study, collect_outcomes(study, trials))


def values_of(trials):
    return {key: frame.sort_values("seed")["test/acc"].to_numpy() for key, frame in by_cell(trials)}


def by_cell(trials):
    return trials.groupby(["activation", "init"], observed=True)


def test_an_interaction_is_the_t_test_of_the_differences_of_differences():
    study = make_study()
    trials = trials_of(study, noisy)
    table = interactions_of(study, trials)
    assert list(table.columns) == list(COLUMNS)
    assert table[["factor_a", "level_a", "reference_a", "factor_b", "level_b", "reference_b"]].to_numpy().tolist() == [
        ["activation", "tanh", "sigmoid", "init", "he", "xavier"],
        ["activation", "relu", "sigmoid", "init", "he", "xavier"],
    ]
    y = values_of(trials)
    by_seed = y["relu", "he"] - y["sigmoid", "he"] - (y["relu", "xavier"] - y["sigmoid", "xavier"])
    expected = stats.ttest_1samp(by_seed, 0)
    found = row(table, level_a="relu")
    interval = expected.confidence_interval(0.95)
    assert (found["n"], found["num_contexts"]) == (5, 1)
    assert found["mean_difference"] == pytest.approx(by_seed.mean(), rel=1e-9)
    assert found["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert table["p_adjusted"].tolist() == multipletests(table["p_value"], method="holm")[1].tolist()


def test_an_interaction_is_averaged_over_the_remaining_factors():
    factors = {name: {"key": f"model.init_args.{name}", "levels": ["0", "1"]} for name in "abc"}
    study = make_study(factors=factors)
    trials = trials_of(study, noisy)
    table = interactions_of(study, trials)
    assert table[["factor_a", "factor_b"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    means = trials.groupby(["a", "c", "seed"], observed=True)["test/acc"].mean().unstack("seed")
    expected = (means.loc[("1", "1")] - means.loc[("0", "1")] - means.loc[("1", "0")] + means.loc[("0", "0")]).mean()
    assert row(table, factor_a="a", factor_b="c")["mean_difference"] == pytest.approx(expected, rel=1e-9)
    assert set(table["num_contexts"]) == {2}


def boosted(levels, seed):
    boost = 0.05 if levels == {"activation": "relu", "init": "he"} else 0.0
    return noisy(levels, seed) + boost


@pytest.mark.parametrize(
    ("goal", "sign", "word", "statement"),
    [
        ("max", 1, "helps more", "helps test/acc more under init=he than under init=xavier: +0.0"),
        ("min", 1, "helps less", "helps test/acc less under init=he than under init=xavier: +0.0"),
        ("max", -1, "helps less", "helps test/acc less under init=he than under init=xavier: -0.0"),
        ("min", -1, "helps more", "helps test/acc more under init=he than under init=xavier: -0.0"),
    ],
)
def test_the_goal_decides_what_helps(goal, sign, word, statement):
    study = make_study(metric={"name": "test/acc", "goal": goal})
    found = row(interactions_of(study, trials_of(study, lambda *at: sign * boosted(*at))), level_a="relu")
    assert found["verdict"] == word
    assert found["sentence"].startswith(f"activation × init: replacing sigmoid by relu {statement}")


def test_without_an_interaction_it_is_equivalent_or_undecided():
    study = make_study(metric={"name": "test/acc", "margin": 0.05})
    assert set(interactions_of(study, trials_of(study, noisy))["verdict"]) == {"equivalent"}
    exact = make_study()
    table = interactions_of(exact, trials_of(exact, lambda levels, seed: 0.1 * len(levels["init"]) + 0.3 * seed))
    assert table["mean_difference"].tolist() == [0, 0]
    assert set(table["verdict"]) == {"undecided"}
    assert (
        table["sentence"]
        .str.endswith("; the difference is 0 in every seed, so check that the level changes the training.")
        .all()
    )


def test_seeds_without_all_four_cells_are_left_out():
    study = make_study()
    trials = trials_of(
        study,
        noisy,
        lambda levels, seed: (
            TrialStatus.FAILED if (*levels.values(), seed) == ("relu", "he", 2) else TrialStatus.FINISHED
        ),
    )
    table = interactions_of(study, trials)
    assert row(table, level_a="relu")[["n", "num_seeds_left_out"]].tolist() == [4, 1]
    assert row(table, level_a="tanh")["n"] == 5
    assert row(table, level_a="relu")["sentence"].endswith("; 1 seed left out (1 failed).")


@pytest.mark.parametrize(
    "study",
    [make_study(design="one_at_a_time"), one_factor(), make_study(seeds=1)],
    ids=["one at a time", "one factor", "one seed"],
)
def test_an_interaction_that_cannot_be_estimated_has_no_row(study):
    table = interactions_of(study, trials_of(study, noisy))
    assert table.empty
    assert list(table.columns) == list(COLUMNS)


def test_a_missing_cell_of_the_design_is_described():
    study = make_study(exclude=[{"activation": "relu", "init": "he"}])
    found = row(interactions_of(study, trials_of(study, noisy)), level_a="relu")
    assert (found["n"], found["num_contexts"]) == (0, 0)
    assert found["sentence"] == (
        "activation × init: whether replacing sigmoid by relu affects test/acc differently under init=he and "
        "init=xavier is undecided: the design has no context with all four cells."
    )


def test_an_interaction_may_compare_levels_other_than_the_reference():
    study = make_study()
    trials = trials_of(study, noisy)
    found = estimate_interaction(
        collect_outcomes(study, trials), ("init", "he", "xavier"), ("activation", "relu", "tanh")
    )
    y = values_of(trials)
    expected = y["relu", "he"] - y["relu", "xavier"] - (y["tanh", "he"] - y["tanh", "xavier"])
    assert found.difference.mean == pytest.approx(expected.mean(), rel=1e-9)


def test_rates_of_divergence_have_wilson_intervals_and_failures_do_not_count():
    study = one_factor(seeds=5)
    states = {("b", 0): TrialStatus.DIVERGED, ("b", 1): TrialStatus.DIVERGED, ("b", 2): TrialStatus.FAILED}
    trials = trials_of(study, noisy, lambda levels, seed: states.get((levels["x"], seed), TrialStatus.FINISHED))
    rates = outcome_rate_table(collect_outcomes(study, trials))
    a, b = rates.to_dict("records")
    assert (a["x"], a["n"], a["diverged"], a["rate"], a["rate_low"]) == ("a", 5, 0, 0, 0)
    assert a["rate_high"] == pytest.approx(0.4345, abs=1e-4)
    assert (b["n"], b["diverged"], b["failed"], b["rate"]) == (4, 2, 1, 0.5)
    assert (b["rate_low"], b["rate_high"]) == wilson_interval(2, 4)


def test_a_cell_without_ended_trials_has_no_rate_and_a_factor_may_be_called_n():
    study = make_study(factors={"n": {"key": "model.init_args.n", "levels": ["1", "2"]}}, seeds=2)
    rates = outcome_rate_table(collect_outcomes(study, trials_of(study, lambda *_: 0.5, lambda *_: TrialStatus.FAILED)))
    assert rates["n (factor)"].tolist() == ["1", "2"]
    assert rates["n"].tolist() == [0, 0]
    assert rates[["rate", "rate_low", "rate_high"]].isna().all(axis=None)
    assert math.isnan(rates["rate"][0])
    assert np.array_equal(rates["failed"], [2, 2])

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_ledger import make_study, one_factor
from scipy import stats
from statsmodels.stats.multitest import multipletests

from experiments.study.design import build_cells
from experiments.study.study import Study
from experiments.trials.trial import TrialStatus
from reports import cell_table, claim_table, collect_outcomes, contrast_table
from reports.analysis.cells import Outcomes
from reports.analysis.contrasts import COLUMNS

SIGMOID_XAVIER = {"activation": "sigmoid", "init": "xavier"}


def trials_of(study: Study, score, status=lambda _levels, _seed: TrialStatus.FINISHED):
    """Make a frame like that of `load_trials`, with score(levels, seed) as the metric."""
    rows = [
        {**cell.levels, "seed": seed, "status": status(cell.levels, seed), study.metric.name: score(cell.levels, seed)}
        for cell in build_cells(study)
        for seed in study.seeds
    ]
    frame = pd.DataFrame(rows)
    for factor in study.factors:
        frame[factor.name] = pd.Categorical(frame[factor.name], factor.level_names, ordered=True)
    return frame


def noisy(levels, seed):
    """Return reproducible noise; a seed shifts all cells equally."""
    key = [seed, *(ord(char) for level in levels.values() for char in level)]
    bonus = {"relu": 0.05, "tanh": 0.04}.get(levels.get("activation"), 0.0)
    return 0.9 + bonus + np.random.default_rng(seed).normal() / 50 + np.random.default_rng(key).normal() / 200


def contrasts_of(study, trials):
    return contrast_table(study, collect_outcomes(study, trials))


def row(table, **values):
    for name, value in values.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_a_main_effect_is_the_paired_test_of_means_over_contexts():
    study = make_study()
    trials = trials_of(study, noisy)
    table = contrasts_of(study, trials)
    found = row(table, factor="activation", level="relu", context="")
    means = trials.groupby(["activation", "seed"], observed=True)["test/acc"].mean()
    expected = stats.ttest_rel(means["relu"], means["sigmoid"])
    interval = expected.confidence_interval(0.95)
    assert found["n"] == 5
    assert found["mean_difference"] == pytest.approx((means["relu"] - means["sigmoid"]).mean(), rel=1e-12)
    assert found["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found["effect_size"] == pytest.approx(expected.statistic / math.sqrt(5), rel=1e-9)
    assert (found["effect_size_name"], found["num_contexts"], found["metric"]) == ("d_z", 2, "test/acc")


def test_a_simple_effect_is_the_paired_test_in_its_context():
    study = make_study()
    trials = trials_of(study, noisy)
    found = row(contrasts_of(study, trials), factor="init", level="he", context="activation=tanh")
    tanh = trials[trials["activation"] == "tanh"].set_index(["init", "seed"])["test/acc"]
    assert found["p_value"] == pytest.approx(stats.ttest_rel(tanh["he"], tanh["xavier"]).pvalue, rel=1e-9)
    assert found["sd_difference"] == pytest.approx((tanh["he"] - tanh["xavier"]).std(), rel=1e-9)


def test_the_columns_begin_as_documented_and_the_rows_are_main_effects_first():
    study = make_study()
    table = contrasts_of(study, trials_of(study, noisy))
    assert list(table.columns) == list(COLUMNS)
    assert list(table.columns[:12]) == [
        *("factor", "level", "reference", "metric", "n", "mean_difference", "ci_low", "ci_high"),
        *("p_value", "p_adjusted", "effect_size", "verdict"),
    ]
    assert table["context"].tolist() == [
        *("", "", ""),
        *("init=xavier", "init=he") * 2,
        *("activation=sigmoid", "activation=tanh", "activation=relu"),
    ]


def test_main_and_simple_effects_are_two_holm_families():
    study = make_study()
    table = contrasts_of(study, trials_of(study, noisy))
    for family in (table[table["context"] == ""], table[table["context"] != ""]):
        expected = multipletests(family["p_value"], method="holm")[1]
        assert family["p_adjusted"].tolist() == expected.tolist()
        assert set(family["num_comparisons"]) == {len(family)}


def test_a_seed_with_a_missing_cell_is_left_out_of_main_effects_and_counted():
    study = make_study()
    gone = {
        ("relu", "he", 1): TrialStatus.FAILED,
        ("relu", "he", 3): TrialStatus.DIVERGED,
        ("sigmoid", "xavier", 3): TrialStatus.PENDING,
    }
    trials = trials_of(study, noisy, lambda levels, seed: gone.get((*levels.values(), seed), TrialStatus.FINISHED))
    table = contrasts_of(study, trials)
    main = row(table, factor="activation", level="relu", context="")
    assert (main["n"], main["num_seeds_left_out"], main["left_out"]) == (3, 2, "1 diverged, 1 failed, 1 pending")
    complete = trials[trials["seed"].isin([0, 2, 4])]
    means = complete.groupby(["activation", "seed"], observed=True)["test/acc"].mean()
    assert main["mean_difference"] == pytest.approx((means["relu"] - means["sigmoid"]).mean(), rel=1e-12)
    assert row(table, level="relu", context="init=xavier")["n"] == 4
    assert row(table, level="relu", context="init=he")["n"] == 3
    assert row(table, level="tanh", context="init=he")["n"] == 5
    assert row(table, level="tanh", context="init=he")["left_out"] == ""


def test_fewer_than_two_complete_seeds_give_no_numbers():
    study = one_factor(seeds=3)
    trials = trials_of(
        study, lambda levels, seed: 0.5, lambda levels, seed: TrialStatus.FAILED if seed else TrialStatus.FINISHED
    )
    found = row(contrasts_of(study, trials), level="b")
    assert (found["n"], found["num_seeds_left_out"], found["verdict"]) == (1, 2, "undecided")
    assert found[["mean_difference", "ci_low", "ci_high", "p_value", "p_adjusted", "effect_size"]].isna().all()
    assert found["sentence"] == (
        "x: whether b and a differ in test/acc is undecided: a confidence interval needs two complete seeds; there is "
        "one; 2 seeds left out (4 failed)."
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_finished_trial_without_a_finite_value_is_not_used_and_counted(value):
    study = one_factor()
    trials = trials_of(study, lambda levels, seed: value if (levels["x"], seed) == ("b", 2) else 0.5 + seed)
    outcomes = collect_outcomes(study, trials)
    found = row(contrast_table(study, outcomes), level="b")
    assert (found["n"], found["num_seeds_left_out"], found["left_out"]) == (4, 1, "1 no value")
    cell = cell_table(outcomes).loc[("b",)]
    assert (cell["n"], cell["no_value"], cell["complete"]) == (4, 1, False)
    assert cell["mean"] == 0.5 + (0 + 1 + 3 + 4) / 4


def test_a_study_of_one_seed_has_no_contrasts_and_undecided_claims():
    claims = {"c": {"factor": "x", "better": "b", "than": "a", "says": "b is better"}}
    study = one_factor(seeds=1, claims=claims)
    outcomes = collect_outcomes(study, trials_of(study, noisy))
    table = contrast_table(study, outcomes)
    assert table.empty
    assert list(table.columns) == list(COLUMNS)
    assert row(claim_table(study, outcomes), claim="c")["finding"] == "undecided"


@pytest.mark.parametrize("study", [one_factor(["a", "b", "c"]), make_study(design="one_at_a_time")])
def test_a_simple_effect_equal_to_its_main_effect_is_not_listed(study):
    table = contrasts_of(study, trials_of(study, noisy))
    assert set(table["context"]) == {""}
    assert set(table["num_contexts"]) == {1}
    assert len(table) == sum(len(factor.levels) - 1 for factor in study.factors)


def test_one_at_a_time_designs_compare_with_the_reference_cell():
    study = make_study(design="one_at_a_time")
    trials = trials_of(study, noisy)
    found = row(contrasts_of(study, trials), factor="init")
    scores = trials[trials["activation"] == "sigmoid"].set_index(["init", "seed"])["test/acc"]
    assert found["mean_difference"] == pytest.approx((scores["he"] - scores["xavier"]).mean(), rel=1e-12)


def test_a_main_effect_uses_only_contexts_that_have_both_levels():
    study = make_study(exclude=[{"activation": "relu", "init": "xavier"}])
    trials = trials_of(study, noisy)
    table = contrasts_of(study, trials)
    relu = row(table, factor="activation", level="relu")  # with one context, it has no simple effect
    scores = trials[trials["init"] == "he"].set_index(["activation", "seed"])["test/acc"]
    assert relu["num_contexts"] == 1
    assert relu["mean_difference"] == pytest.approx((scores["relu"] - scores["sigmoid"]).mean(), rel=1e-12)
    assert row(table, factor="init", context="")["num_contexts"] == 2
    assert set(table[table["factor"] == "init"]["context"]) == {"", "activation=sigmoid", "activation=tanh"}


def test_a_level_that_shares_no_context_with_its_reference_cannot_be_compared():
    study = make_study(exclude=[{"activation": "relu", "init": "xavier"}, {"activation": "sigmoid", "init": "he"}])
    found = row(contrasts_of(study, trials_of(study, noisy)), factor="activation", level="relu")
    assert (found["n"], found["num_contexts"], found["num_seeds_left_out"]) == (0, 0, 0)
    assert found["sentence"] == (
        "activation: whether relu and sigmoid differ in test/acc is undecided: the design has no context with both "
        "levels."
    )


def test_seeds_that_agree_by_chance_give_no_interval():
    study = one_factor(metric={"name": "test/acc", "margin": 0.1}, seeds=2)
    found = row(
        contrasts_of(study, trials_of(study, lambda levels, seed: 0.5 + 0.25 * (levels["x"] == "b"))), level="b"
    )
    assert (found["verdict"], found["mean_difference"], found["is_constant"]) == ("undecided", 0.25, True)
    assert found["sentence"] == (
        "x: whether b and a differ in test/acc is undecided: the difference is +0.2500 in each of 2 seeds; without "
        "variation, no confidence interval can be computed."
    )


def test_all_values_equal_is_undecided_without_a_margin_and_equivalent_with_one():
    for metric, verdict in (({"name": "test/acc"}, "undecided"), ({"name": "test/acc", "margin": 0.01}, "equivalent")):
        study = one_factor(metric=metric)
        found = row(contrasts_of(study, trials_of(study, lambda levels, seed: 0.5)), level="b")
        assert (found["verdict"], found["p_value"], found["mean_difference"]) == (verdict, 1.0, 0.0)
        assert found["is_constant"]


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random):
    study = make_study(metric={"name": "test/acc", "margin": 0.01})
    trials = trials_of(
        study,
        noisy,
        lambda levels, seed: TrialStatus.FAILED if (levels, seed) == (SIGMOID_XAVIER, 1) else TrialStatus.FINISHED,
    )
    order = list(range(len(trials)))
    random.shuffle(order)
    one, other = collect_outcomes(study, trials), collect_outcomes(study, trials.iloc[order])
    pd.testing.assert_frame_equal(contrast_table(study, one), contrast_table(study, other), check_exact=True)
    pd.testing.assert_frame_equal(cell_table(one), cell_table(other), check_exact=True)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(min_value=-1, max_value=1, allow_subnormal=False), min_size=12, max_size=12))
def test_sign_and_goal_flipped_together_give_the_same_verdicts(scores):
    one = one_factor(["a", "b", "c"], seeds=4, metric={"name": "m", "goal": "max", "margin": 0.1})
    other = one_factor(["a", "b", "c"], seeds=4, metric={"name": "m", "goal": "min", "margin": 0.1})
    value = {(level, seed): scores[4 * "abc".index(level) + seed] for level in "abc" for seed in range(4)}
    table = contrasts_of(one, trials_of(one, lambda levels, seed: value[levels["x"], seed]))
    flipped = contrasts_of(other, trials_of(other, lambda levels, seed: -value[levels["x"], seed]))
    assert table["verdict"].tolist() == flipped["verdict"].tolist()
    assert table["p_adjusted"].tolist() == flipped["p_adjusted"].tolist()
    assert table["mean_difference"].tolist() == (-flipped["mean_difference"]).tolist()


@pytest.mark.slow  # test_properties.py has the same of fewer studies
def test_a_factor_without_effect_is_rarely_significant():
    study = one_factor(["a", "b", "c", "d"], seeds=4)
    states = np.full((4, 4), TrialStatus.FINISHED)
    num_found = 0
    for scores in np.random.default_rng(0).normal(size=(150, 4, 4)):
        outcomes = Outcomes(
            factors=("x",), cells=(("a",), ("b",), ("c",), ("d",)), seeds=study.seeds, scores=scores, states=states
        )
        num_found += contrast_table(study, outcomes)["verdict"].isin(["improves", "harms"]).any()
    assert 0 < num_found < 150 * (0.05 + 3 * math.sqrt(0.05 * 0.95 / 150))  # Holm holds the family at 5 %


def claims_of(says_better, than, **changes):
    claims = {"claim": {"factor": "x", "better": says_better, "than": than, "says": "one is better"}}
    study = one_factor(["a", "b", "c"], claims=claims, **changes)
    scores = {"a": 0.5, "b": 0.6, "c": 0.6}
    wobble = {"a": 0.0, "b": 0.001, "c": -0.0005}
    trials = trials_of(study, lambda levels, seed: scores[levels["x"]] + wobble[levels["x"]] * (seed - 2) + seed)
    return row(claim_table(study, collect_outcomes(study, trials)), claim="claim")


def test_claims_are_supported_contradicted_equal_or_undecided():
    margin = {"name": "test/acc", "margin": 0.01}
    assert claims_of("b", "a")["finding"] == "supported"
    assert claims_of("a", "b")["finding"] == "contradicted"
    assert claims_of("b", "c", metric=margin)["finding"] == "practically equal"
    assert claims_of("b", "c")["finding"] == "undecided"
    assert claims_of("b", "a", metric={"name": "test/acc", "goal": "min"})["finding"] == "contradicted"


def test_a_claim_may_compare_levels_other_than_the_reference():
    found = claims_of("c", "b")
    assert (found["level"], found["reference"], found["n"]) == ("c", "b", 5)
    assert found["mean_difference"] == pytest.approx(0, abs=1e-12)


def test_the_cell_table_counts_what_is_missing():
    study = make_study()
    state = dict(
        enumerate(
            [TrialStatus.DIVERGED, TrialStatus.FAILED, TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.FINISHED]
        )
    )
    trials = trials_of(
        study, noisy, lambda levels, seed: state[seed] if levels == SIGMOID_XAVIER else TrialStatus.FINISHED
    )
    cells = cell_table(collect_outcomes(study, trials))
    assert cells.index.names == ["activation", "init"]
    one = cells.loc[("sigmoid", "xavier")]
    assert one[["n", "planned", "diverged", "failed", "pending", "no_value"]].tolist() == [1, 5, 1, 1, 2, 0]
    assert not one["complete"]
    assert one["mean"] == noisy(SIGMOID_XAVIER, 4)
    assert one[["sd", "ci_low", "ci_high"]].isna().all()
    other = cells.loc[("tanh", "he")]
    scores = trials.query("activation == 'tanh' and init == 'he'")["test/acc"]
    assert other["complete"]
    assert (other["mean"], other["sd"]) == pytest.approx((scores.mean(), scores.std()), rel=1e-12)


def test_a_factor_may_be_called_like_a_column_of_the_cell_table():
    study = make_study(factors={"n": {"key": "model.init_args.n", "levels": [1, 2]}})
    cells = cell_table(collect_outcomes(study, trials_of(study, noisy)))
    assert cells.index.tolist() == [("1",), ("2",)]
    assert cells["n"].tolist() == [5, 5]


def corrected(differences, folds, confidence=0.95):
    """Compute mean, p and interval of the corrected resampled t test with scipy."""
    num = len(differences)
    se = np.std(differences, ddof=1) * math.sqrt(1 / num + 1 / (folds - 1))
    mean = np.mean(differences)
    return mean, 2 * stats.t.sf(abs(mean) / se, num - 1), stats.t.interval(confidence, num - 1, loc=mean, scale=se)


@pytest.mark.parametrize("num_seeds", [5, 10])
def test_contrasts_cells_and_claims_over_folds_are_corrected(num_seeds):
    claims = {"c": {"factor": "activation", "better": "relu", "than": "tanh", "says": "ReLU is better"}}
    metric = {"name": "test/acc", "margin": 0.05}
    study = make_study(folds=5, seeds=num_seeds, claims=claims, metric=metric)
    trials = trials_of(study, noisy)
    outcomes = collect_outcomes(study, trials)
    means = trials.groupby(["activation", "seed"], observed=True)["test/acc"].mean()
    main = row(contrast_table(study, outcomes), level="relu", context="")
    mean, p_value, interval = corrected((means["relu"] - means["sigmoid"]).to_numpy(), 5)
    assert (main["mean_difference"], main["p_value"]) == pytest.approx((mean, p_value), rel=1e-9)
    assert (main["ci_low"], main["ci_high"]) == pytest.approx(interval, rel=1e-9)
    *_, ninety = corrected((means["relu"] - means["sigmoid"]).to_numpy(), 5, confidence=0.90)
    assert (main["equivalence_low"], main["equivalence_high"]) == pytest.approx(ninety, rel=1e-9)
    claim = row(claim_table(study, outcomes), claim="c")
    assert claim["p_value"] == pytest.approx(corrected((means["relu"] - means["tanh"]).to_numpy(), 5)[1], rel=1e-9)
    scores = trials.query("activation == 'tanh' and init == 'he'")["test/acc"].to_numpy()
    cell = cell_table(outcomes).loc[("tanh", "he")]
    assert (cell["ci_low"], cell["ci_high"]) == pytest.approx(corrected(scores, 5)[2], rel=1e-9)


def test_sentences_over_folds_name_folds():
    study = one_factor(folds=3, seeds=3, metric={"name": "test/acc", "margin": 0.2})
    gone = trials_of(
        study,
        noisy,
        lambda levels, seed: TrialStatus.FAILED if (levels["x"], seed) == ("b", 1) else TrialStatus.FINISHED,
    )
    assert contrasts_of(study, gone)["sentence"][0].endswith("2 folds); 1 fold left out (1 failed).")
    none = trials_of(study, noisy, lambda levels, seed: TrialStatus.FAILED)
    assert (
        "a confidence interval needs two complete folds; there are none; 3 folds left"
        in contrasts_of(study, none)["sentence"][0]
    )
    same = contrasts_of(study, trials_of(study, lambda levels, seed: 0.5))["sentence"][0]
    assert "3 folds" in same
    assert same.endswith("; the difference is 0 in every fold, so check that the level changes the training.")
    apart = contrasts_of(study, trials_of(study, lambda levels, seed: 0.5 + 0.25 * (levels["x"] == "b")))["sentence"][0]
    assert "in each of 3 folds; without variation, no confidence interval can be computed" in apart
    assert not any("seed" in text for text in (same, apart))


def test_further_columns_are_the_statistics_of_the_pairs():
    study = one_factor(seeds=10, metric={"name": "test/loss", "goal": "min", "margin": 0.001})
    trials = trials_of(study, noisy)
    found = row(contrasts_of(study, trials), level="b")
    values = trials.set_index(["x", "seed"])["test/loss"]
    b, a = values["b"].to_numpy(), values["a"].to_numpy()
    assert found["seed_correlation"] == pytest.approx(np.corrcoef(b, a)[0, 1], rel=1e-9)
    assert (found["wins"], found["losses"], found["ties"]) == ((b < a).sum(), (b > a).sum(), 0)
    test = stats.permutation_test((b - a,), np.sum, permutation_type="samples", n_resamples=2**10)
    assert found["sign_flip_p"] == pytest.approx(test.pvalue, rel=1e-12)
    assert found["sign_flip_floor"] == 2**-9
    assert found["bootstrap_low"] < found["mean_difference"] < found["bootstrap_high"]
    assert found["mde"] == pytest.approx(1.0 * found["sd_difference"], rel=5e-3)
    assert found["more_seeds"] > 0
    assert (
        f"about {found['more_seeds']:.0f} more seeds would probably give a verdict at the margin of 0.001"
        in found["sentence"]
    )


def test_the_minimum_detectable_effect_is_that_of_the_family():
    study = one_factor(["a", "b", "c", "d", "e", "f"])
    table = contrasts_of(study, trials_of(study, noisy))
    assert table["mde"].to_numpy() == pytest.approx(2.63 * table["sd_difference"].to_numpy(), rel=5e-3)
    assert table["more_seeds"].isna().all()


def test_folds_have_no_resampled_columns_and_a_larger_detectable_effect():
    study = one_factor(folds=5, seeds=10)
    found = row(contrasts_of(study, trials_of(study, noisy)), level="b")
    assert found[["sign_flip_p", "sign_flip_floor", "bootstrap_low", "bootstrap_high"]].isna().all()
    assert found["mde"] == pytest.approx(1.0 * found["sd_difference"] * math.sqrt((1 / 10 + 1 / 4) * 10), rel=5e-3)
    assert found["wins"] + found["losses"] + found["ties"] == 10


def interaction_claims(**changes):
    """Test the claim on a study in which He gains 0.05 with ReLU and nothing with sigmoid."""
    claim = {
        "factor": "init",
        "better": "he",
        "than": "xavier",
        "more_under": {"activation": "relu"},
        "than_under": {"activation": "sigmoid"},
        "says": "He helps ReLU more than it helps sigmoid.",
    }
    study = make_study(claims={"he-for-relu": claim | changes})
    together = {("relu", "he"): 0.05}
    trials = trials_of(study, lambda levels, seed: noisy(levels, seed) + together.get((*levels.values(),), 0.0))
    trials["train/loss"] = 1 - trials["test/acc"]
    return row(claim_table(study, collect_outcomes(study, trials), trials), claim="he-for-relu")


def test_a_claim_on_an_interaction_is_tested_by_the_difference_of_differences():
    found = interaction_claims()
    assert (found["finding"], found["factor"], found["n"]) == ("supported", "init × activation", 5)
    assert found["mean_difference"] == pytest.approx(0.05, abs=0.01)
    assert found["answer"].startswith(
        "He helps ReLU more than it helps sigmoid (he-for-relu). init × activation: replacing xavier by he "
        "helps test/acc more under activation=relu than under activation=sigmoid: +0.0"
    )
    assert interaction_claims(better="xavier", than="he")["finding"] == "contradicted"
    assert (
        interaction_claims(metric={"name": "test/acc", "margin": 0.5}, more_under={"activation": "tanh"})["finding"]
        == "practically equal"
    )
    assert interaction_claims(more_under={"activation": "tanh"})["finding"] == "undecided"


def test_a_claim_may_have_its_own_metric():
    found = interaction_claims(metric={"name": "train/loss", "goal": "min"})
    assert (found["finding"], found["metric"]) == ("supported", "train/loss")
    assert found["mean_difference"] == pytest.approx(-0.05, abs=0.01)
    assert interaction_claims(metric={"name": "train/loss", "goal": "max"})["finding"] == "contradicted"


def test_a_claim_with_its_own_metric_needs_the_trials():
    claims = {"c": {"factor": "x", "better": "b", "than": "a", "says": "b", "metric": {"name": "train/loss"}}}
    study = one_factor(claims=claims)
    with pytest.raises(ValueError, match="claim 'c' needs the frame of trials for its metric 'train/loss'"):
        claim_table(study, collect_outcomes(study, trials_of(study, noisy)))


def test_claims_on_several_metrics_are_one_family():
    one = {"factor": "x", "better": "b", "than": "a", "says": "b"}
    study = one_factor(
        claims={"c": one, "d": one | {"metric": {"name": "other", "goal": "max", "margin": 0.1}}, "e": one}
    )
    trials = trials_of(study, noisy)
    trials["other"] = trials["test/acc"]
    table = claim_table(study, collect_outcomes(study, trials), trials)
    assert table["num_comparisons"].tolist() == [3, 3, 3]
    assert table["finding"].tolist() == ["undecided", "practically equal", "undecided"]


def claim_where(score, **claim):
    """Test a claim on the activation in a grid of activations and initialisations."""
    claim = {"factor": "activation", "better": "relu", "than": "sigmoid", "says": "ReLU helps."} | claim
    study = make_study(claims={"c": {key: value for key, value in claim.items() if value is not None}})
    trials = trials_of(study, lambda levels, seed: noisy(levels, seed) / 100 + score(levels))
    return study, trials, row(claim_table(study, collect_outcomes(study, trials), trials), claim="c")


def test_a_claim_in_some_cells_ignores_the_others():
    def helps_under_he(levels):
        return {("relu", "he"): 0.2, ("relu", "xavier"): -0.3}.get((levels["activation"], levels["init"]), 0.0)

    study, trials, found = claim_where(helps_under_he, where={"init": "he"})
    assert (found["finding"], found["context"], found["num_contexts"]) == ("supported", "init=he", 1)
    simple = contrasts_of(study, trials)
    expected = row(simple[simple["context"] == "init=he"], factor="activation", level="relu")
    assert found["mean_difference"] == pytest.approx(expected["mean_difference"], rel=1e-12)
    assert found["p_value"] == pytest.approx(expected["p_value"], rel=1e-12)
    assert found["answer"].startswith(
        "ReLU helps (c). activation (init=he): relu improves test/acc compared with sigmoid: +0."
    )
    assert claim_where(helps_under_he, where={"init": "xavier"})[2]["finding"] == "contradicted"


def test_a_claim_in_cells_that_the_design_lacks_is_undecided():
    claim = {
        "factor": "activation",
        "better": "relu",
        "than": "sigmoid",
        "where": {"init": "he"},
        "says": "ReLU helps.",
    }
    study = make_study(claims={"c": claim}, exclude=[{"activation": "relu", "init": "he"}])
    found = row(claim_table(study, collect_outcomes(study, trials_of(study, noisy))), claim="c")
    assert found["finding"] == "undecided"
    assert "is undecided: the design has no context with both levels." in found["answer"]


@pytest.mark.parametrize(
    ("gain", "margin", "finding"),
    [
        (0.0, 0.05, "supported"),
        (0.01, 0.05, "supported"),  # they differ, and by less than the margin
        (0.2, 0.05, "contradicted"),
        (-0.2, 0.05, "contradicted"),
        (0.0, 1e-6, "undecided"),
    ],
)
def test_a_claim_of_equality_is_decided_by_the_margin(gain, margin, finding):
    def score(levels):
        added = {"relu": 0.05, "tanh": 0.04}.get(levels["activation"], 0.0) / 100  # what `noisy` adds
        return gain - added if levels["activation"] == "relu" else 0.0

    metric = {"name": "test/acc", "goal": "max", "margin": margin}
    _, _, found = claim_where(score, better=None, than=None, equal="relu", to="sigmoid", metric=metric)
    assert found["finding"] == finding

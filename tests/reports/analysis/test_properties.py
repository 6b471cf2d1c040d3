"""Properties of verdicts for any data: invariances, error rates and coverage."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_ledger import make_study

from experiments.trials.trial import TrialStatus
from reports import collect_outcomes, contrast_table
from reports.analysis.cells import Outcomes
from reports.analysis.interactions import HELPS_LESS, HELPS_MORE, interaction_table
from reports.analysis.variance_shares import variance_share_table
from reports.statistics.paired import mean_interval, paired_difference
from reports.statistics.resampling import bootstrap_t_interval, sign_flip_test

MARGIN = {"name": "test/acc", "goal": "max", "margin": 0.2}
LEVELS = {"activation": ("sigmoid", "tanh", "relu"), "init": ("xavier", "he")}
scores_of_a_study = st.lists(
    st.floats(min_value=-1, max_value=1, allow_subnormal=False) | st.just(math.nan), min_size=24, max_size=24
)
FEW = settings(max_examples=8, deadline=None)


def frame_of(values, names):
    """Make a frame of trials with 3 x 2 cells, 4 seeds and these names of levels."""
    rows = [
        {"activation": names["activation"][a], "init": names["init"][i], "seed": seed, "status": TrialStatus.FINISHED}
        | {"test/acc": values[(a * 2 + i) * 4 + seed]}
        for a in range(3)
        for i in range(2)
        for seed in range(4)
    ]
    return pd.DataFrame(rows)


def tables_of(values, names=LEVELS, metric=MARGIN, factors=("activation", "init"), order=None):
    """Compute contrasts, interactions and shares of variance of scores (24,)."""
    frame = frame_of(values, names).rename(columns=dict(zip(("activation", "init"), factors, strict=True)))
    study = make_study(
        seeds=4,
        metric=metric,
        factors={
            name: {"key": f"model.init_args.{name}", "levels": list(names[old])}
            for name, old in zip(factors, ("activation", "init"), strict=True)
        },
    )
    outcomes = collect_outcomes(study, frame if order is None else frame.iloc[order])
    return contrast_table(study, outcomes), interaction_table(study, outcomes), variance_share_table(study, outcomes)[0]


def numbers(table):
    """Return the columns of a table without names."""
    return table.select_dtypes("number").to_numpy(dtype=np.float64)


@FEW
@given(scores_of_a_study, st.permutations(range(24)))
def test_the_order_of_rows_changes_no_byte(values, order):
    for one, other in zip(tables_of(values), tables_of(values, order=order), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


@FEW
@given(scores_of_a_study)
def test_other_names_of_factors_and_levels_change_no_number(values):
    names = {"activation": ("z", "b", "a|b"), "init": ("1", "0")}
    for one, other in zip(tables_of(values), tables_of(values, names, factors=("second", "a first")), strict=True):
        np.testing.assert_array_equal(numbers(one), numbers(other))
        if "verdict" in one:
            assert one["verdict"].tolist() == other["verdict"].tolist()


@FEW
@given(scores_of_a_study)
def test_the_sign_of_a_metric_and_its_goal_together_change_no_verdict(values):
    flipped = tables_of([-value for value in values], metric=MARGIN | {"goal": "min"})
    for one, other in zip(tables_of(values)[:2], flipped[:2], strict=True):
        assert one["verdict"].tolist() == other["verdict"].tolist()
        np.testing.assert_array_equal(one["p_adjusted"], other["p_adjusted"])
        np.testing.assert_array_equal(one["mde"], other["mde"])
        if "wins" in one:
            assert one[["wins", "losses", "ties"]].equals(other[["wins", "losses", "ties"]])
            np.testing.assert_array_equal(one["more_seeds"], other["more_seeds"])


@FEW
@given(scores_of_a_study, st.sampled_from([1e-3, 1.0, 1e3]))
def test_the_unit_of_a_metric_changes_no_verdict(values, unit):
    scaled = tables_of([value * unit for value in values], metric=MARGIN | {"margin": 0.2 * unit})
    for one, other in zip(tables_of(values)[:2], scaled[:2], strict=True):
        near_rounding = np.isclose(one["p_adjusted"], 0.05, rtol=1e-6) | (one["sd_difference"].abs() < 1e-12)
        assert one["verdict"][~near_rounding].tolist() == other["verdict"][~near_rounding].tolist()


def grid_of(scores):
    """Make the outcomes of a 3 x 2 study with scores (6, S)."""
    cells = tuple((a, i) for a in LEVELS["activation"] for i in LEVELS["init"])
    states = np.full(scores.shape, TrialStatus.FINISHED)
    return Outcomes(
        factors=("activation", "init"), cells=cells, seeds=tuple(range(scores.shape[1])), scores=scores, states=states
    )


def at_most(rate, num_studies):
    """Return a rate with three standard errors of its simulation."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / num_studies)


def false_findings(num_seeds, num_studies, draw):
    """Return how often a study without effects has a significant main effect, simple effect and interaction."""
    study = make_study(seeds=num_seeds)
    found = np.zeros(3)
    for _ in range(num_studies):
        outcomes = grid_of(draw((6, num_seeds)) + draw((1, num_seeds)))  # each seed shifts all its cells
        contrasts = contrast_table(study, outcomes)
        is_found = contrasts["verdict"].isin(["improves", "harms"])
        is_main = contrasts["context"] == ""
        interactions = interaction_table(study, outcomes)["verdict"].isin([HELPS_MORE, HELPS_LESS])
        found += [(is_found & is_main).any(), (is_found & ~is_main).any(), interactions.any()]
    return found / num_studies


@pytest.mark.slow
def test_false_positives_occur_at_most_at_rate_alpha():
    draws = np.random.default_rng(1)
    rates = false_findings(4, 40, lambda size: draws.normal(size=size))
    assert (rates <= at_most(0.05, 40)).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_false_positives_occur_at_most_at_rate_alpha_in_many_grids(num_seeds):
    draws = np.random.default_rng(num_seeds)
    for draw in (lambda size: draws.normal(size=size), lambda size: draws.exponential(size=size)):
        rates = false_findings(num_seeds, 150, draw)
        assert (rates <= at_most(0.05, 150)).all(), rates


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [3, 5, 10, 20])
def test_t_intervals_have_their_nominal_coverage(num_seeds):
    draws = np.random.default_rng(num_seeds)
    num_studies = 4000
    paired, cell, interaction_covers = [], [], []
    for _ in range(num_studies):
        seed = draws.normal(size=num_seeds)
        level, reference = seed + draws.normal(0.3, 1, num_seeds), seed + draws.normal(0, 1, num_seeds)
        found = paired_difference(level, reference)
        paired.append(found.ci_low <= 0.3 <= found.ci_high)
        mean = mean_interval(level)
        cell.append(mean.ci_low <= 0.3 <= mean.ci_high)
        other, both = seed + draws.normal(0, 1, num_seeds), seed + draws.normal(0, 1, num_seeds)
        four = paired_difference(level + both, reference + other)
        interaction_covers.append(four.ci_low <= 0.3 <= four.ci_high)
    error = 3.5 * math.sqrt(0.95 * 0.05 / num_studies)
    for covers in (paired, cell, interaction_covers):
        assert np.mean(covers) == pytest.approx(0.95, abs=error)


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [10, 20])
def test_bootstrap_t_intervals_have_nearly_their_nominal_coverage(num_seeds):
    draws = np.random.default_rng(num_seeds)
    covers = []
    for _ in range(1500):
        low, high = bootstrap_t_interval(draws.normal(0.3, 1, num_seeds))
        covers.append(low <= 0.3 <= high)
    assert np.mean(covers) == pytest.approx(0.95, abs=3.5 * math.sqrt(0.95 * 0.05 / 1500))


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [5, 8, 16])
def test_the_sign_flip_test_keeps_its_level(num_seeds):
    draws = np.random.default_rng(num_seeds)
    wrong = [sign_flip_test(draws.laplace(size=num_seeds)).p_value <= 0.05 for _ in range(1500)]
    assert np.mean(wrong) <= at_most(0.05, 1500)
    if num_seeds == 5:
        assert not any(wrong)  # the floor is 0.0625

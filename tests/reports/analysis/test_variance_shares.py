import time

import numpy as np
import pandas as pd
import pytest
from make_ledger import make_study, one_factor
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from experiments.trials.trial import TrialStatus
from reports.analysis.cells import Outcomes, collect_outcomes
from reports.analysis.variance_shares import COLUMNS, variance_share_table
from tests.reports.analysis.test_contrasts import noisy, trials_of

STUDY = make_study()
SOURCES = ["activation", "init", "activation × init", "seed", "residual"]


def expected_of(trials):
    """Compute the type II table with statsmodels, in our order."""
    frame = trials[trials["status"] == TrialStatus.FINISHED].rename(columns={"test/acc": "y"})
    frame = frame.assign(activation=frame["activation"].astype(str), init=frame["init"].astype(str))
    model = ols("y ~ C(activation, Sum) * C(init, Sum) + C(seed)", frame).fit()
    table = anova_lm(model, typ=2)
    names = ["C(activation, Sum)", "C(init, Sum)", "C(activation, Sum):C(init, Sum)", "C(seed)", "Residual"]
    return table.loc[names]


@pytest.mark.parametrize(
    "missing", [(), (("relu", "he", 1),), (("relu", "he", 1), ("tanh", "xavier", 3), ("relu", "xavier", 0))]
)
def test_sums_of_squares_are_those_of_statsmodels(missing):
    trials = trials_of(
        STUDY,
        noisy,
        lambda levels, seed: TrialStatus.FAILED if (*levels.values(), seed) in missing else TrialStatus.FINISHED,
    )
    table, reason = variance_share_table(STUDY, collect_outcomes(STUDY, trials))
    expected = expected_of(trials)
    assert reason == ""
    assert list(table.columns) == list(COLUMNS)
    assert table["source"].tolist() == SOURCES
    assert table["sum_of_squares"].to_numpy() == pytest.approx(expected["sum_sq"].to_numpy(), rel=1e-8)
    assert table["df"].tolist() == expected["df"].tolist()
    assert table["f"].to_numpy() == pytest.approx(expected["F"].to_numpy(), rel=1e-8, nan_ok=True)
    assert table["p_value"].to_numpy() == pytest.approx(expected["PR(>F)"].to_numpy(), rel=1e-7, nan_ok=True)
    assert table["share"].sum() == pytest.approx(1, rel=1e-12)
    assert ((table["share_low"] <= table["share"]) & (table["share"] <= table["share_high"])).all()


def test_the_partial_omega_squared_by_hand():
    table, _ = variance_share_table(STUDY, collect_outcomes(STUDY, trials_of(STUDY, noisy)))
    row, rest = table.iloc[0], table.iloc[-1]
    mse = rest["sum_of_squares"] / rest["df"]
    expected = (row["sum_of_squares"] - row["df"] * mse) / (row["sum_of_squares"] + (30 - row["df"]) * mse)
    assert row["partial_omega_squared"] == pytest.approx(expected, rel=1e-12)
    assert (table["partial_omega_squared"].dropna() >= 0).all()


def test_the_intervals_are_a_jackknife_over_seeds():
    trials = trials_of(STUDY, noisy)
    table, _ = variance_share_table(STUDY, collect_outcomes(STUDY, trials))
    without = []
    for seed in STUDY.seeds:
        sums = expected_of(trials[trials["seed"] != seed])["sum_sq"]
        without.append((sums / sums.sum()).to_numpy())
    half = 2.7764451 * np.sqrt(4 * np.var(without, axis=0))
    assert table["share_high"].to_numpy() == pytest.approx(np.clip(table["share"] + half, 0, 1).to_numpy(), rel=1e-6)
    assert table["share_low"].to_numpy() == pytest.approx(np.clip(table["share"] - half, 0, 1).to_numpy(), rel=1e-6)


@pytest.mark.parametrize(
    ("study", "reason"),
    [
        (make_study(design="one_at_a_time"), "the one-at-a-time design does not combine levels of two factors"),
        (make_study(seeds=1), "the study has one seed"),
        (make_study(folds=3, seeds=1), "the study has one fold"),
    ],
)
def test_a_design_without_shares_gives_the_reason(study, reason):
    table, found = variance_share_table(study, collect_outcomes(study, trials_of(study, noisy)))
    assert found == reason
    assert table.empty
    assert list(table.columns) == list(COLUMNS)


def test_one_cell_with_values_gives_the_reason():
    study = one_factor(seeds=3)
    trials = trials_of(
        study, noisy, lambda levels, seed: TrialStatus.FINISHED if levels["x"] == "a" else TrialStatus.FAILED
    )
    assert variance_share_table(study, collect_outcomes(study, trials))[1] == "fewer than two cells have a value"
    trials = trials_of(study, noisy, lambda levels, seed: TrialStatus.FINISHED if seed == 0 else TrialStatus.FAILED)
    assert variance_share_table(study, collect_outcomes(study, trials))[1] == "the residual has no degrees of freedom"


def test_equal_values_have_no_shares():
    table, _ = variance_share_table(STUDY, collect_outcomes(STUDY, trials_of(STUDY, lambda *_: 0.3)))
    assert (table["sum_of_squares"] == 0).all()
    assert table[["share", "f", "p_value"]].isna().all(axis=None)


def test_missing_cells_cost_degrees_of_freedom():
    study = make_study(exclude=[{"activation": "relu", "init": "he"}])
    table, _ = variance_share_table(study, collect_outcomes(study, trials_of(study, noisy)))
    assert table.set_index("source")["df"].tolist() == [2, 1, 1, 4, 16]


def test_folds_have_shares_but_neither_p_nor_interval():
    study = make_study(folds=5, seeds=5)
    table, _ = variance_share_table(study, collect_outcomes(study, trials_of(study, noisy)))
    assert table["source"].tolist() == [*SOURCES[:3], "fold", "residual"]
    assert table[["share_low", "share_high", "f", "p_value"]].isna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("is_balanced", [True, False])
def test_a_hundred_thousand_trials_take_seconds(is_balanced):
    sizes = (10, 10, 10, 5)
    cells = tuple(tuple(map(str, index)) for index in np.ndindex(sizes))
    scores = np.random.default_rng(0).normal(size=(len(cells), 20))
    if not is_balanced:
        scores[17, 3] = np.nan
    study = make_study(
        factors={
            f: {"key": f"model.{f}", "levels": [str(n) for n in range(s)]} for f, s in zip("abcd", sizes, strict=True)
        },
        seeds=20,
    )
    outcomes = Outcomes(
        factors=tuple("abcd"),
        cells=cells,
        seeds=study.seeds,
        scores=scores,
        states=np.full(scores.shape, TrialStatus.FINISHED),
    )
    started = time.process_time()
    table, _ = variance_share_table(study, outcomes)
    assert time.process_time() - started < (3 if is_balanced else 60)
    assert table["share"].sum() == pytest.approx(1, rel=1e-3)
    assert isinstance(table, pd.DataFrame)

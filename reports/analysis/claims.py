"""The claims of a study, put to the test: the paired contrast of two levels, or how it differs in two contexts.

That a level is better is supported where it improves. That two are equal is supported where they are shown to differ by
less than the margin, also if they are shown to differ, and contradicted where they differ and it is not.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.study.study import LOG, Claim, Metric, Study
from experiments.trials.trial import TrialStatus
from reports.wording.numbers import format_cell
from reports.wording.verdicts import EQUIVALENT, HARMS, IMPROVES, UNDECIDED, Comparison

from .cells import NO_VALUE, Outcomes, collect_outcomes
from .contrasts import compare_levels, judge_family, pair_contexts
from .frame import name_metric_column
from .interactions import estimate_interaction

SUPPORTED, CONTRADICTED, PRACTICALLY_EQUAL = "supported", "contradicted", "practically equal"
_FINDINGS = {IMPROVES: SUPPORTED, HARMS: CONTRADICTED, EQUIVALENT: PRACTICALLY_EQUAL, UNDECIDED: UNDECIDED}
_RATIOS = {"ratio": "mean_difference", "ratio_low": "ci_low", "ratio_high": "ci_high"}


def claim_table(study: Study, outcomes: Outcomes, trials: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a claim: claim (its name), says, finding, the columns of `contrast_table` for `better` - `than`, answer.

    finding: supported, contradicted, practically equal or undecided. Claims are stated before anything is trained, so
    they are a Holm family of their own. For a study of one seed every claim is undecided.
    answer: the claim and what came of it, in plain words.
    is_equality: whether it is that two levels are equal.
    scale: linear or log. With log, differences and what is told of them are of logarithms to base 10, over seeds and
        contexts alike, and the factors that they stand for are ratio, ratio_low and ratio_high (NaN with linear). Where
        a value is 0 or below, the claim is undecided.

    A claim on an interaction has the two factors in `factor` ("init × activation") and the difference of differences
    in `mean_difference`.

    Arguments:
        study: the study.
        outcomes: its metric on its grid.
        trials: of `load_trials`; needed where a claim has a metric of its own.

    Raises:
        ValueError: when a claim has a metric of its own and there are no trials.
    """
    metrics = [_metric(study, claim) for claim in study.claims]
    main = [_comparison(claim, _outcomes(study, claim, outcomes, trials)) for claim in study.claims]
    table = judge_family(main, metrics)
    table.insert(0, "claim", [claim.name for claim in study.claims])
    table.insert(1, "says", [claim.says for claim in study.claims])
    rows = zip(study.claims, table["verdict"], table["below_margin"], strict=True)
    table.insert(2, "finding", [_finding(claim, word, is_small=small) for claim, word, small in rows])
    table["answer"] = [
        f"{claim.says.rstrip('.')} ({claim.name}). {sentence}"
        for claim, sentence in zip(study.claims, table["sentence"], strict=True)
    ]
    table["is_equality"] = [claim.is_equality for claim in study.claims]
    table["scale"] = [claim.scale for claim in study.claims]
    for ratio, column in _RATIOS.items():
        with np.errstate(over="ignore"):
            table[ratio] = np.where(table["scale"] == LOG, 10.0 ** table[column].to_numpy(dtype=np.float64), np.nan)
    return table


def _finding(claim: Claim, word: str, *, is_small: bool) -> str:
    if not claim.is_equality:
        return _FINDINGS[word]
    if word == EQUIVALENT or is_small:
        return SUPPORTED
    return UNDECIDED if word == UNDECIDED else CONTRADICTED


def collect_claim_notes(study: Study, outcomes: Outcomes, trials: pd.DataFrame) -> list[str]:
    """Which claims are on a metric that no trial logged, or on the logarithm of what has none."""
    notes = []
    for claim in study.claims:
        if claim.metric is not None and name_metric_column(study, claim.metric.name) not in trials:
            notes.append(f"Claim {claim.name}: no trial logged {claim.metric.name!r}, so it is undecided.")
        elif why := _without_logarithm(claim, _outcomes(study, claim, outcomes, trials)):
            notes.append(
                f"Claim {claim.name}: {why}, so it is undecided; scale: linear compares the values themselves."
            )
    return notes


def _metric(study: Study, claim: Claim) -> Metric:
    """What decides a claim, its margin in the unit of the differences."""
    metric = claim.metric or study.metric
    if claim.scale != LOG or metric.margin is None:
        return metric
    return replace(metric, margin=math.log10(metric.margin))


def _outcomes(study: Study, claim: Claim, outcomes: Outcomes, trials: pd.DataFrame | None) -> Outcomes:
    """Of the metric and the cells that a claim is on."""
    if claim.metric is not None:
        if trials is None:
            raise ValueError(f"claim {claim.name!r} is on {claim.metric.name!r}, which is in the frame of trials")
        outcomes = collect_outcomes(replace(study, metric=claim.metric), trials)
    return _in_cells(outcomes, claim.where)


def _in_cells(outcomes: Outcomes, levels: Sequence[tuple[str, str]]) -> Outcomes:
    """Those cells only that have all of these levels."""
    at = [(outcomes.factors.index(factor), level) for factor, level in levels]
    rows = [row for row, cell in enumerate(outcomes.cells) if all(cell[place] == level for place, level in at)]
    cells = tuple(outcomes.cells[row] for row in rows)
    return replace(outcomes, cells=cells, scores=outcomes.scores[rows], states=outcomes.states[rows])


def _comparison(claim: Claim, outcomes: Outcomes) -> Comparison:
    if claim.scale != LOG:
        return _difference(claim, outcomes)
    if why := _without_logarithm(claim, outcomes):
        nothing = replace(outcomes, states=np.full_like(outcomes.states, NO_VALUE))
        return replace(_difference(claim, nothing), num_seeds_left_out=0, is_ratio=True, obstacle=why)
    with np.errstate(divide="ignore", invalid="ignore"):  # of cells that the claim is not on
        scores = np.log10(outcomes.scores)
    return replace(_difference(claim, replace(outcomes, scores=scores)), is_ratio=True)


def _difference(claim: Claim, outcomes: Outcomes) -> Comparison:
    if claim.under is None or claim.than_under is None:
        found = compare_levels(outcomes, claim.factor, claim.better, claim.than)[0]
    else:
        (factor, level), (_, reference) = claim.under, claim.than_under
        found = estimate_interaction(outcomes, (claim.factor, claim.better, claim.than), (factor, level, reference))
    return replace(found, context=format_cell(dict(claim.where))) if claim.where else found


def _without_logarithm(claim: Claim, outcomes: Outcomes) -> str:
    """How many of a claim's values are 0 or below, in words; nothing on a linear scale, and where all are above."""
    if claim.scale != LOG:
        return ""
    rows = sorted(
        {row for pair in pair_contexts(outcomes, claim.factor, claim.better, claim.than).values() for row in pair}
    )
    if claim.under is not None and claim.than_under is not None:
        place = outcomes.factors.index(claim.under[0])
        rows = [row for row in rows if outcomes.cells[row][place] in {claim.under[1], claim.than_under[1]}]
    values = outcomes.scores[rows][outcomes.states[rows] == TrialStatus.FINISHED]
    below = int(np.count_nonzero(values <= 0))
    return f"{below} of {len(values)} values are 0 or below and have no logarithm" if below else ""

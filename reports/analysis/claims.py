"""Tests of a study's claims: the paired contrast of two levels, or its difference between two contexts.

A claim that a level is better is supported if the level improves the metric. A claim that two levels are equal is
supported if their difference is shown to be smaller than the margin, even if it is significant. It is contradicted if
the difference is significant and not shown to be smaller than the margin.
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
    """Return one row per claim.

    Columns: claim (its name), says, the columns of `contrast_table` for `better` - `than`, and
        finding: supported, contradicted, practically equal or undecided. Claims are stated before training, so they are
            a separate Holm family. With one seed, every claim is undecided.
        answer: the claim and its result as sentences.
        is_equality: whether the claim is that two levels are equal.
        scale: linear or log. With log, all differences are differences of base-10 logarithms, and ratio, ratio_low and
            ratio_high are the corresponding factors (NaN with linear). A value of 0 or below makes the claim undecided.

    For a claim on an interaction, `factor` names both factors ("init × activation"), and `mean_difference` is the
    difference of differences.

    Args:
        study: the study.
        outcomes: its metric on the grid.
        trials: frame of `load_trials`; required if a claim has its own metric.

    Raises:
        ValueError: if a claim has its own metric and `trials` is None.
    """
    metrics = [_claim_metric(study, claim) for claim in study.claims]
    comparisons = [_compare(claim, _claim_outcomes(study, claim, outcomes, trials)) for claim in study.claims]
    table = judge_family(comparisons, metrics)
    table.insert(0, "claim", [claim.name for claim in study.claims])
    table.insert(1, "says", [claim.says for claim in study.claims])
    rows = zip(study.claims, table["verdict"], table["below_margin"], strict=True)
    table.insert(2, "finding", [_decide(claim, word, is_small=small) for claim, word, small in rows])
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


def _decide(claim: Claim, word: str, *, is_small: bool) -> str:
    if not claim.is_equality:
        return _FINDINGS[word]
    if word == EQUIVALENT or is_small:
        return SUPPORTED
    return UNDECIDED if word == UNDECIDED else CONTRADICTED


def collect_claim_notes(study: Study, outcomes: Outcomes, trials: pd.DataFrame) -> list[str]:
    """Return a note for each claim whose metric was not logged or has values without a logarithm."""
    notes = []
    for claim in study.claims:
        if claim.metric is not None and name_metric_column(study, claim.metric.name) not in trials:
            notes.append(f"Claim {claim.name}: no trial logged {claim.metric.name!r}, so it is undecided.")
        elif why := _describe_nonpositive(claim, _claim_outcomes(study, claim, outcomes, trials)):
            notes.append(f"Claim {claim.name}: {why}, so it is undecided. scale: linear compares the values instead.")
    return notes


def _claim_metric(study: Study, claim: Claim) -> Metric:
    """Return the metric of a claim, with the margin in the unit of the differences."""
    metric = claim.metric or study.metric
    if claim.scale != LOG or metric.margin is None:
        return metric
    return replace(metric, margin=math.log10(metric.margin))


def _claim_outcomes(study: Study, claim: Claim, outcomes: Outcomes, trials: pd.DataFrame | None) -> Outcomes:
    """Return the outcomes in the metric and the cells of a claim."""
    if claim.metric is not None:
        if trials is None:
            raise ValueError(f"claim {claim.name!r} needs the frame of trials for its metric {claim.metric.name!r}")
        outcomes = collect_outcomes(replace(study, metric=claim.metric), trials)
    return _select_cells(outcomes, claim.where)


def _select_cells(outcomes: Outcomes, levels: Sequence[tuple[str, str]]) -> Outcomes:
    """Return the outcomes in the cells that have all of these levels."""
    wanted = [(outcomes.factors.index(factor), level) for factor, level in levels]
    rows = [row for row, cell in enumerate(outcomes.cells) if all(cell[axis] == level for axis, level in wanted)]
    cells = tuple(outcomes.cells[row] for row in rows)
    return replace(outcomes, cells=cells, scores=outcomes.scores[rows], states=outcomes.states[rows])


def _compare(claim: Claim, outcomes: Outcomes) -> Comparison:
    if claim.scale != LOG:
        return _compare_values(claim, outcomes)
    if why := _describe_nonpositive(claim, outcomes):
        empty = replace(outcomes, states=np.full_like(outcomes.states, NO_VALUE))
        return replace(_compare_values(claim, empty), num_seeds_left_out=0, is_ratio=True, obstacle=why)
    with np.errstate(divide="ignore", invalid="ignore"):  # cells outside the claim may have values of 0 or below
        scores = np.log10(outcomes.scores)
    return replace(_compare_values(claim, replace(outcomes, scores=scores)), is_ratio=True)


def _compare_values(claim: Claim, outcomes: Outcomes) -> Comparison:
    if claim.under is None or claim.than_under is None:
        comparison = compare_levels(outcomes, claim.factor, claim.better, claim.than)[0]
    else:
        (factor, level), (_, reference) = claim.under, claim.than_under
        comparison = estimate_interaction(
            outcomes, (claim.factor, claim.better, claim.than), (factor, level, reference)
        )
    return replace(comparison, context=format_cell(dict(claim.where))) if claim.where else comparison


def _describe_nonpositive(claim: Claim, outcomes: Outcomes) -> str:
    """Describe how many values of a claim on a log scale are 0 or below; "" if none is."""
    if claim.scale != LOG:
        return ""
    rows = sorted(
        {row for pair in pair_contexts(outcomes, claim.factor, claim.better, claim.than).values() for row in pair}
    )
    if claim.under is not None and claim.than_under is not None:
        axis = outcomes.factors.index(claim.under[0])
        rows = [row for row in rows if outcomes.cells[row][axis] in {claim.under[1], claim.than_under[1]}]
    values = outcomes.scores[rows][outcomes.states[rows] == TrialStatus.FINISHED]
    below = int(np.count_nonzero(values <= 0))
    return f"{below} of {len(values)} values are 0 or below and have no logarithm" if below else ""

"""The claims of a study, put to the test: the paired contrast of two levels, or how it differs in two contexts.

That a level is better is supported where it improves. That two are equal is supported where they are shown to differ by
less than the margin, also if they are shown to differ, and contradicted where they differ and it is not.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from experiments.study import Claim, Study

from .cells import Outcomes, outcomes_of
from .contrasts import compare, judged
from .frame import metric_column
from .interactions import interaction
from .text import cell_name
from .verdicts import EQUIVALENT, HARMS, IMPROVES, UNDECIDED, Comparison

SUPPORTED, CONTRADICTED, PRACTICALLY_EQUAL = "supported", "contradicted", "practically equal"
_FINDINGS = {IMPROVES: SUPPORTED, HARMS: CONTRADICTED, EQUIVALENT: PRACTICALLY_EQUAL, UNDECIDED: UNDECIDED}


def claim_table(study: Study, outcomes: Outcomes, trials: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a claim: claim (its name), says, finding, the columns of `contrast_table` for `better` - `than`, answer.

    finding: supported, contradicted, practically equal or undecided. Claims are stated before anything is trained, so
    they are a Holm family of their own. For a study of one seed every claim is undecided.
    answer: the claim and what came of it, in plain words.

    A claim on an interaction has the two factors in `factor` ("init × activation") and the difference of differences
    in `mean_difference`.

    Arguments:
        study: the study.
        outcomes: its metric on its grid.
        trials: of `load_trials`; needed where a claim has a metric of its own.

    Raises:
        ValueError: when a claim has a metric of its own and there are no trials.
    """
    metrics = [claim.metric or study.metric for claim in study.claims]
    main = [_comparison(study, claim, outcomes, trials) for claim in study.claims]
    table = judged(main, metrics)
    table.insert(0, "claim", [claim.name for claim in study.claims])
    table.insert(1, "says", [claim.says for claim in study.claims])
    rows = zip(study.claims, table["verdict"], table["below_margin"], strict=True)
    table.insert(2, "finding", [_finding(claim, word, is_small=small) for claim, word, small in rows])
    table["answer"] = [
        f"{claim.says.rstrip('.')} ({claim.name}). {sentence}"
        for claim, sentence in zip(study.claims, table["sentence"], strict=True)
    ]
    return table


def _finding(claim: Claim, word: str, *, is_small: bool) -> str:
    if not claim.is_equality:
        return _FINDINGS[word]
    if word == EQUIVALENT or is_small:
        return SUPPORTED
    return UNDECIDED if word == UNDECIDED else CONTRADICTED


def notes_on_claims(study: Study, trials: pd.DataFrame) -> list[str]:
    """Which claims are on a metric that no trial logged."""
    return [
        f"Claim {claim.name}: no trial logged {claim.metric.name!r}, so it is undecided."
        for claim in study.claims
        if claim.metric is not None and metric_column(study, claim.metric.name) not in trials
    ]


def _comparison(study: Study, claim: Claim, outcomes: Outcomes, trials: pd.DataFrame | None) -> Comparison:
    if claim.metric is not None:
        if trials is None:
            raise ValueError(f"claim {claim.name!r} is on {claim.metric.name!r}, which is in the frame of trials")
        outcomes = outcomes_of(replace(study, metric=claim.metric), trials)
    outcomes = _in_cells(outcomes, claim.where)
    if claim.under is None or claim.than_under is None:
        found = compare(outcomes, claim.factor, claim.better, claim.than)[0]
    else:
        (factor, level), (_, reference) = claim.under, claim.than_under
        found = interaction(outcomes, (claim.factor, claim.better, claim.than), (factor, level, reference))
    return replace(found, context=cell_name(dict(claim.where))) if claim.where else found


def _in_cells(outcomes: Outcomes, levels: Sequence[tuple[str, str]]) -> Outcomes:
    """Those cells only that have all of these levels."""
    at = [(outcomes.factors.index(factor), level) for factor, level in levels]
    rows = [row for row, cell in enumerate(outcomes.cells) if all(cell[place] == level for place, level in at)]
    cells = tuple(outcomes.cells[row] for row in rows)
    return replace(outcomes, cells=cells, scores=outcomes.scores[rows], states=outcomes.states[rows])

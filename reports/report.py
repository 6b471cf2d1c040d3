"""A study's report as one object: everything that is written, printed or drawn comes from it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.errors import InputError
from experiments.ledger.ledger import Ledger
from experiments.ledger.study_folder import open_ledger
from experiments.study.mechanisms import GAP, MECHANISM
from experiments.study.study import Study
from experiments.text import choices, listed
from experiments.trials.trial import TrialStatus
from reports.analysis.divergence import outcome_rate_table

from .analysis.audit import audit_table, describe_backends
from .analysis.cells import NO_VALUE, Outcomes, cell_table, collect_outcomes, count_missing
from .analysis.claims import claim_table, collect_claim_notes
from .analysis.contrasts import contrast_table
from .analysis.correct_examples import COLUMNS as SEED_AND_EXAMPLE_COLUMNS
from .analysis.correct_examples import read_correct_examples, seed_and_example_variance_table
from .analysis.frame import list_metric_names, read_curves, read_study, read_trials
from .analysis.interactions import interaction_table
from .analysis.learning_curves import curve_difference_table, threshold_table
from .analysis.variance_shares import variance_share_table
from .wording.method import VALIDATION, describe_scope
from .wording.numbers import format_count, format_counts

_MOST_SEEDS = 10  # that a sentence names
_RESAMPLES = (
    200  # of the bootstrap over seeds and examples, which no table shows: the intervals are of a t distribution
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """What a study came to.

    trials, curves: the frames of `load_trials` and `load_curves`.
    cells: one row a cell, see `cell_table`.
    contrasts: one row a main or simple effect, see `contrast_table`.
    claims: one row a claim of the study, see `claim_table`.
    audit: one row a question to the design, see `audit_table`.
    interactions: one row a pair of levels of two factors, see `interaction_table`; empty where not estimable.
    variance_shares: one row a source of variance, see `variance_share_table`; empty where the design cannot tell.
    outcome_rates: one row a cell, how often it diverged, see `outcome_rate_table`.
    curve_differences: one row a main effect, metric and epoch, see `curve_difference_table`.
    seed_and_example_variance: one row a main contrast in test accuracy over other seeds and other test examples, see
        `load_seed_and_example_variance`; empty where trials did not say which examples they had right, or were tested
        on different ones.
    thresholds: one row a cell and metric, after how many epochs it is nearly there, see `threshold_table`.
    scope: which source of variance each interval covers, as a sentence.
    notes: sentences to read before believing a number: what is missing, what cannot be said, what the data modules
        said of their data.
    num_unplanned: trials of earlier plans that the ledger keeps and this report leaves out.
    files: where it was written; empty before.
    """

    study: Study
    trials: pd.DataFrame
    curves: pd.DataFrame
    cells: pd.DataFrame
    contrasts: pd.DataFrame
    claims: pd.DataFrame
    audit: pd.DataFrame
    interactions: pd.DataFrame
    variance_shares: pd.DataFrame
    outcome_rates: pd.DataFrame
    curve_differences: pd.DataFrame
    thresholds: pd.DataFrame
    seed_and_example_variance: pd.DataFrame
    scope: str
    notes: tuple[str, ...]
    num_unplanned: int
    files: tuple[Path, ...] = ()

    @property
    def main_effects(self) -> pd.DataFrame:
        """The contrasts over all contexts."""
        return self.contrasts[self.contrasts["context"] == ""]

    @property
    def simple_effects(self) -> pd.DataFrame:
        """The contrasts in one context each."""
        return self.contrasts[self.contrasts["context"] != ""]


def build_report(directory: str | Path) -> Report:
    """The report of a study's folder. Nothing is written; a study that is not done gives a report of what is there.

    Arguments:
        directory: a study's folder, the one that holds ledger.sqlite.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
        InputError: when no trial has finished, or none logged the study's metric.
    """
    with open_ledger(directory) as ledger:
        study = read_study(ledger)
        trials = read_trials(ledger, study)
        _check(trials, study, str(ledger.path), list_metric_names(ledger))
        curves = read_curves(ledger, study, trials)
        seed_and_example_variance = _seed_and_example_variance(ledger, study, trials)
        num_unplanned = ledger.num_unplanned()
        on_data = [f"Data: {note}" for note in ledger.notes()]
    outcomes = collect_outcomes(study, trials)
    failed = trials.loc[trials["status"] == TrialStatus.FAILED, "trial_id"]  # cut off
    ended = curves[~curves["trial_id"].isin(set(failed))]
    contrasts = contrast_table(study, outcomes)
    shares, why_no_shares = variance_share_table(study, outcomes)
    return Report(
        study=study,
        trials=trials,
        curves=curves,
        cells=cell_table(outcomes),
        contrasts=contrasts,
        claims=claim_table(study, outcomes, trials),
        audit=audit_table(study, outcomes, trials, curves),
        interactions=interaction_table(study, outcomes),
        variance_shares=shares,
        outcome_rates=outcome_rate_table(outcomes),
        curve_differences=curve_difference_table(study, outcomes, ended),
        thresholds=threshold_table(study, outcomes, ended),
        seed_and_example_variance=seed_and_example_variance,
        scope=describe_scope(study),
        notes=(
            *_notes(study, outcomes, contrasts),
            *_notes_on_what_is_not_estimable(study, why_no_shares),
            *collect_claim_notes(study, outcomes, trials),
            *_notes_on_backends(trials),
            *_notes_on_mechanisms(study, trials),
            *_notes_on_earlier_plans(num_unplanned),
            *on_data,
        ),
        num_unplanned=num_unplanned,
    )


def _notes_on_mechanisms(study: Study, trials: pd.DataFrame) -> list[str]:
    """How many trials lack what the study measures inside them."""
    if study.mechanisms is None:
        return []
    finished = trials[trials["status"] == TrialStatus.FINISHED]
    wanted = {
        MECHANISM: ("mechanisms", {*study.mechanisms.measure} - {"gap"}, ""),
        GAP: ("the generalisation gap", {*study.mechanisms.measure} & {"gap"}, ", unless there is no validation"),
    }
    notes = []
    for prefix, (what, is_measured, unless) in wanted.items():
        names = [name for name in trials.columns if str(name).startswith(prefix)]
        lacking = int((~finished[names].notna().any(axis="columns")).sum()) if is_measured else 0
        if lacking:
            notes.append(
                f"Without {what}, which the study measures: {lacking} of "
                f"{format_count(len(finished), 'finished trial')}. "
                f"A warning in the study's folder logs, or on the terminal, says why{unless}."
            )
    return notes


def _notes_on_earlier_plans(num_unplanned: int) -> list[str]:
    if not num_unplanned:
        return []
    return [
        (
            f"The ledger keeps {format_count(num_unplanned, 'trial')} of earlier plans outside this report. Seeds, "
            "levels, margins and claims that are chosen after results were seen make p values too small."
        )
    ]


def _seed_and_example_variance(ledger: Ledger, study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    try:
        return seed_and_example_variance_table(
            study, trials, read_correct_examples(ledger, study, trials), resamples=_RESAMPLES
        )
    except InputError:  # nothing is stored, or seeds were tested on different examples
        return pd.DataFrame(columns=list(SEED_AND_EXAMPLE_COLUMNS))


def _check(trials: pd.DataFrame, study: Study, path: str, logged: list[str]) -> None:
    counts = trials["status"].value_counts()
    if not counts.get(TrialStatus.FINISHED, 0):
        others = [status for status in TrialStatus if status != TrialStatus.FINISHED]
        found = format_counts({status: int(counts.get(status, 0)) for status in others})
        raise InputError(
            f"{path}: no trial has finished, so there is nothing to report ({found}). `ablate run` trains what is "
            "pending, `ablate show` prints why a trial failed, `ablate retry` makes failed ones pending again"
        )
    wanted = study.metric.name
    if wanted not in logged:
        raise InputError(
            f"{path}: metric.name: no trial logged {wanted!r}{choices(wanted, logged, 'logged')}. "
            "Correct it in the study file and run the study again: what is trained is kept"
        )


def _notes(study: Study, outcomes: Outcomes, contrasts: pd.DataFrame) -> list[str]:
    counts = count_missing(outcomes.states)
    total = outcomes.states.size
    notes = []
    if len(study.seeds) == 1:
        notes.append(
            f"The study has one {study.unit}: there are no contrasts and no intervals, because one training of each "
            f"cell cannot tell a level from luck. ablate run with --seeds {study.folds or 5} adds {study.unit}s and "
            "keeps what is trained."
        )
    if study.missing_folds:
        notes.append(_note_on_folds(study))
    if study.folds is not None and study.metric.name.partition("/")[0] in VALIDATION:
        notes.append(
            f"{study.metric.name} is of the validation split, which need not be the fold that is left out; the "
            "intervals are corrected as if it were as large as that fold."
        )
    if counts[TrialStatus.PENDING]:
        notes.append(
            f"Not trained yet: {counts[TrialStatus.PENDING]} of {format_count(total, 'trial')}; all numbers may change."
        )
    if counts[TrialStatus.FAILED]:
        notes.append(
            f"{counts[TrialStatus.FAILED]} of {format_count(total, 'trial')} failed; ablate show prints why, ablate "
            "retry makes them pending again."
        )
    if counts[TrialStatus.DIVERGED]:
        notes.append(
            f"{counts[TrialStatus.DIVERGED]} of {format_count(total, 'trial')} diverged. That is an outcome, but not a "
            "number: means and differences are over the others, and flatter a level that diverges more often."
        )
    if counts[NO_VALUE]:
        notes.append(
            f"{counts[NO_VALUE]} of {format_count(total, 'trial')} finished without a finite value of "
            f"{study.metric.name}; they are left out of means and differences."
        )
    notes.extend(_notes_on_contexts(outcomes, contrasts))
    return notes


def _notes_on_what_is_not_estimable(study: Study, why_no_shares: str) -> list[str]:
    """Why there are no interactions and no shares of variance, where more seeds alone would not give them."""
    if len(study.seeds) == 1:
        return []
    if study.design != "full" and len(study.factors) > 1:
        return [
            (
                "Interactions are not estimable, and neither are shares of variance, since each factor is varied with "
                "the others at their reference; `design: full` trains the other cells and keeps what is trained."
            )
        ]
    return [f"There are no shares of variance: {why_no_shares}."] if why_no_shares else []


def _note_on_folds(study: Study) -> str:
    missing, all_folds = study.missing_folds, study.num_repetitions * (study.folds or 0)
    of = "the cross-validation" if study.num_repetitions == 1 else f"{study.num_repetitions} cross-validations"
    first, more = listed(missing[:_MOST_SEEDS]), len(missing) - _MOST_SEEDS
    seeds = f"seeds {first} and {more} more" if more > 0 else f"seed {first}" if len(missing) == 1 else f"seeds {first}"
    return (
        f"Of the {all_folds} folds of {of}, {len(missing)} {'is' if len(missing) == 1 else 'are'} not in the plan "
        f"({seeds}), so examples are not tested equally often, and some perhaps never."
    )


def _notes_on_backends(trials: pd.DataFrame) -> list[str]:
    """Whether trials that are compared were trained in different ways."""
    counts = describe_backends(trials)
    if len(counts) < 2:  # noqa: PLR2004 -- one way for all
        return []
    return [
        (
            f"Trained in different ways: {' and '.join(counts)}. They are equal up to rounding, which training "
            "amplifies in single precision; a contrast that mixes them says a little more about luck than one that "
            "does not. ablate run --fuse never in a new folder trains all alike."
        )
    ]


def _notes_on_contexts(outcomes: Outcomes, contrasts: pd.DataFrame) -> list[str]:
    """Which main effects rest on fewer contexts than their level appears in, because cells are excluded."""
    notes = []
    for row in contrasts[contrasts["context"] == ""].to_dict("records"):
        position = outcomes.factors.index(row["factor"])
        contexts = {
            cell[:position] + cell[position + 1 :]
            for cell in outcomes.cells
            if cell[position] in {row["level"], row["reference"]}
        }
        if row["num_contexts"] < len(contexts) and row["num_contexts"]:
            notes.append(
                f"{row['factor']}: {row['level']} - {row['reference']} is the mean over {row['num_contexts']} of "
                f"{format_count(len(contexts), 'context')}, where the design has both."
            )
    return notes

"""Report of a study as one object, from which all output is written, printed or drawn."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.errors import InputError
from experiments.ledger.ledger import Ledger
from experiments.ledger.study_folder import open_ledger
from experiments.study.mechanisms import GAP, MECHANISM
from experiments.study.study import Study
from experiments.text import describe_choices, join_names
from experiments.trials.trial import TrialStatus
from reports.analysis.divergence import outcome_rate_table

from .analysis.audit import audit_table, count_backends
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

_MAX_SEEDS = 10  # seeds that a sentence lists
_RESAMPLES = 200  # of the bootstrap over seeds and examples, which no table shows: reports use the t interval


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """Results of a study as frames and sentences.

    trials, curves: frames of `load_trials` and `load_curves`.
    cells: one row per cell, see `cell_table`.
    contrasts: one row per main or simple effect, see `contrast_table`.
    claims: one row per claim of the study, see `claim_table`.
    audit: one row per item of the audit of the design, see `audit_table`.
    interactions: one row per interaction of two levels, see `interaction_table`; empty if not estimable.
    variance_shares: one row per source of variance, see `variance_share_table`; empty if not estimable.
    outcome_rates: one row per cell with its rate of diverged trials, see `outcome_rate_table`.
    curve_differences: one row per main effect, metric and epoch, see `curve_difference_table`.
    thresholds: one row per cell and metric with the epochs until the threshold, see `threshold_table`.
    seed_and_example_variance: one row per main effect on test accuracy, see `load_seed_and_example_variance`; empty if
        trials did not record their correct test examples, or were tested on different ones.
    scope: sources of variance that the intervals cover, as sentences.
    notes: caveats as sentences: missing results, what cannot be estimated, and notes of the data modules.
    num_unplanned: number of trials of earlier plans, which the ledger keeps and the report leaves out.
    files: files that were written; empty before.
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
        """Return the contrasts over all contexts."""
        return self.contrasts[self.contrasts["context"] == ""]

    @property
    def simple_effects(self) -> pd.DataFrame:
        """Return the contrasts in a single context."""
        return self.contrasts[self.contrasts["context"] != ""]


def build_report(directory: str | Path) -> Report:
    """Build the report of a study from its ledger, without writing files. The study may be incomplete.

    Args:
        directory: folder of the study, which holds ledger.sqlite.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
        InputError: if no trial has finished, or none logged the study's metric.
    """
    with open_ledger(directory) as ledger:
        study = read_study(ledger)
        trials = read_trials(ledger, study)
        _check(trials, study, str(ledger.path), list_metric_names(ledger))
        curves = read_curves(ledger, study, trials)
        seed_and_example_variance = _read_seed_and_example_variance(ledger, study, trials)
        num_unplanned = ledger.num_unplanned()
        data_notes = [f"Data: {note}" for note in ledger.notes()]
    outcomes = collect_outcomes(study, trials)
    failed = set(trials.loc[trials["status"] == TrialStatus.FAILED, "trial_id"])
    curves_without_failed = curves[~curves["trial_id"].isin(failed)]
    contrasts = contrast_table(study, outcomes)
    shares, no_shares_because = variance_share_table(study, outcomes)
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
        curve_differences=curve_difference_table(study, outcomes, curves_without_failed),
        thresholds=threshold_table(study, outcomes, curves_without_failed),
        seed_and_example_variance=seed_and_example_variance,
        scope=describe_scope(study),
        notes=(
            *_collect_outcome_notes(study, outcomes, contrasts),
            *_collect_estimability_notes(study, no_shares_because),
            *collect_claim_notes(study, outcomes, trials),
            *_collect_backend_notes(trials),
            *_collect_mechanism_notes(study, trials),
            *_collect_earlier_plan_notes(num_unplanned),
            *data_notes,
        ),
        num_unplanned=num_unplanned,
    )


def _collect_mechanism_notes(study: Study, trials: pd.DataFrame) -> list[str]:
    """Count the finished trials that lack the mechanisms or the gap that the study measures."""
    if study.mechanisms is None:
        return []
    finished = trials[trials["status"] == TrialStatus.FINISHED]
    wanted = {
        MECHANISM: ("mechanisms", {*study.mechanisms.measure} - {"gap"}, "."),
        GAP: ("the generalisation gap", {*study.mechanisms.measure} & {"gap"}, ", unless there is no validation."),
    }
    notes = []
    for prefix, (what, is_measured, end) in wanted.items():
        names = [name for name in trials.columns if str(name).startswith(prefix)]
        num_missing = int((~finished[names].notna().any(axis="columns")).sum()) if is_measured else 0
        if num_missing:
            notes.append(
                f"Values of {what}, which the study measures, are missing in {num_missing} of "
                f"{format_count(len(finished), 'finished trial')}. A warning in the study's folder logs, or on the "
                f"terminal, gives the reason{end}"
            )
    return notes


def _collect_earlier_plan_notes(num_unplanned: int) -> list[str]:
    if not num_unplanned:
        return []
    return [
        (
            f"The ledger keeps {format_count(num_unplanned, 'trial')} of earlier plans, which this report leaves out. "
            "Choosing seeds, levels, margins or claims after seeing results makes p-values too small."
        )
    ]


def _read_seed_and_example_variance(ledger: Ledger, study: Study, trials: pd.DataFrame) -> pd.DataFrame:
    try:
        return seed_and_example_variance_table(
            study, trials, read_correct_examples(ledger, study, trials), resamples=_RESAMPLES
        )
    except InputError:  # nothing is stored, or seeds were tested on different examples
        return pd.DataFrame(columns=list(SEED_AND_EXAMPLE_COLUMNS))


def _check(trials: pd.DataFrame, study: Study, path: str, logged: list[str]) -> None:
    counts = trials["status"].value_counts()
    if not counts.get(TrialStatus.FINISHED, 0):
        unfinished = format_counts(
            {
                status: int(counts.get(status, 0))
                for status in (TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.DIVERGED, TrialStatus.FAILED)
            }
        )
        raise InputError(
            f"{path}: no trial has finished, so there is nothing to report ({unfinished}). `ablate run` trains pending "
            "trials, `ablate show` prints why a trial failed, and `ablate retry` makes failed trials pending again"
        )
    wanted = study.metric.name
    if wanted not in logged:
        raise InputError(
            f"{path}: metric.name: no trial logged {wanted!r}{describe_choices(wanted, logged, 'logged')}. Correct the "
            "name in the study file and run the study again; finished trials are kept"
        )


def _collect_outcome_notes(study: Study, outcomes: Outcomes, contrasts: pd.DataFrame) -> list[str]:
    counts = count_missing(outcomes.states)
    total = outcomes.states.size
    notes = []
    if len(study.seeds) == 1:
        notes.append(
            f"The study has one {study.unit}, so there are no contrasts and no confidence intervals: a single training "
            f"per cell cannot separate the effect of a level from chance. ablate run with --seeds {study.folds or 5} "
            f"adds {study.unit}s and keeps the finished trials."
        )
    if study.missing_folds:
        notes.append(_describe_missing_folds(study))
    if study.folds is not None and study.metric.name.partition("/")[0] in VALIDATION:
        notes.append(
            f"{study.metric.name} is measured on the validation split, which need not be the held-out fold; the "
            "intervals are corrected as if it had the size of that fold."
        )
    if counts[TrialStatus.PENDING]:
        notes.append(
            f"Pending: {counts[TrialStatus.PENDING]} of {format_count(total, 'trial')}; all numbers may still change."
        )
    if counts[TrialStatus.FAILED]:
        notes.append(
            f"{counts[TrialStatus.FAILED]} of {format_count(total, 'trial')} failed; ablate show prints why, ablate "
            "retry makes them pending again."
        )
    if counts[TrialStatus.DIVERGED]:
        notes.append(
            f"{counts[TrialStatus.DIVERGED]} of {format_count(total, 'trial')} diverged. Divergence is an outcome "
            "without a number: means and differences exclude these trials, which favours levels that diverge."
        )
    if counts[NO_VALUE]:
        notes.append(
            f"{counts[NO_VALUE]} of {format_count(total, 'trial')} finished without a finite value of "
            f"{study.metric.name}; means and differences exclude them."
        )
    notes.extend(_collect_context_notes(outcomes, contrasts))
    return notes


def _collect_estimability_notes(study: Study, no_shares_because: str) -> list[str]:
    """Explain why interactions and shares of variance are missing, unless more seeds would provide them."""
    if len(study.seeds) == 1:
        return []
    if study.design != "full" and len(study.factors) > 1:
        return [
            (
                "Interactions and shares of variance cannot be estimated, because each factor is varied with the "
                "others at their reference. `design: full` trains the missing cells and keeps the finished trials."
            )
        ]
    return [f"Shares of variance cannot be estimated: {no_shares_because}."] if no_shares_because else []


def _describe_missing_folds(study: Study) -> str:
    missing, num_folds = study.missing_folds, study.num_repetitions * (study.folds or 0)
    of = "the cross-validation" if study.num_repetitions == 1 else f"{study.num_repetitions} cross-validations"
    first, more = join_names(missing[:_MAX_SEEDS]), len(missing) - _MAX_SEEDS
    seeds = f"seeds {first} and {more} more" if more > 0 else f"seed {first}" if len(missing) == 1 else f"seeds {first}"
    return (
        f"Of the {num_folds} folds of {of}, {len(missing)} {'is' if len(missing) == 1 else 'are'} not in the plan "
        f"({seeds}), so examples are not tested equally often, and some possibly never."
    )


def _collect_backend_notes(trials: pd.DataFrame) -> list[str]:
    """Warn if the trials were trained by different backends."""
    counts = count_backends(trials)
    if len(counts) < 2:  # noqa: PLR2004 -- one backend for all
        return []
    return [
        (
            f"The trials were trained by different backends: {' and '.join(counts)}. These agree up to rounding "
            "errors, which training amplifies in single precision, so contrasts across backends contain slightly more "
            "noise. ablate run --fuse never in a new folder trains all trials with the same backend."
        )
    ]


def _collect_context_notes(outcomes: Outcomes, contrasts: pd.DataFrame) -> list[str]:
    """List the main effects that use only some contexts, because cells are excluded."""
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
                f"{format_count(len(contexts), 'context')}, those in which the design has both levels."
            )
    return notes

"""Test examples that each trial classified correctly, and differences in accuracy over seeds and test examples.

Seeds and examples are crossed only if all trials were tested on the same examples in the same order. A ledger verifies
this by two digests (experiments/training/correct_examples.py):

- All trials have the same number of examples and the same targets in the same order.
- Within a cell, the inputs are the same for all seeds. Between cells they may differ, because a level can be another
  representation of the same examples; if targets are unknown, they must not.

The second condition fails if each seed has its own split, fold, order, or vocabulary learnt on its training examples.
The error message names the reason. An interval over seeds then covers the test set already, as far as it varies between
seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.errors import InputError
from experiments.ledger.ledger import Ledger
from experiments.ledger.study_folder import open_ledger
from experiments.study.study import Study
from experiments.trials.trial import Correct
from reports.statistics.seed_and_example_variance import (
    NUM_RESAMPLES,
    SeedAndExampleVariance,
    binomial_error,
    estimate_seed_and_example_variance,
)
from reports.wording.numbers import choose_decimals, format_cell, format_number

from .contrasts import Contrast, list_contrasts
from .frame import read_study, read_trials

_NUMBERS = (
    *("mean_difference", "ci_low", "ci_high", "sd_seeds", "sd_examples"),
    *("sd_rest", "standard_error", "bootstrap_low", "bootstrap_high", "binomial_error"),
)
COLUMNS = ("factor", "level", "reference", "n_seeds", "n_examples", *_NUMBERS, "sentence")

Levels = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CorrectExamples:
    """Test examples that each of K trials classified correctly.

    trial_ids: (K,), in the order of `load_trials`; trials without this information are left out.
    is_correct: (K, N), one column per example, in the order of the test loader, which all K trials share.
    """

    trial_ids: tuple[str, ...]
    is_correct: NDArray[np.bool_]


def load_correct_examples(directory: str | Path) -> CorrectExamples:
    """Load which test examples each trial of a study classified correctly.

    Args:
        directory: folder of the study, which holds ledger.sqlite.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
        InputError: if no trial recorded its correct examples, or trials were tested on different examples.
    """
    with open_ledger(directory) as ledger:
        study = read_study(ledger)
        return read_correct_examples(ledger, study, read_trials(ledger, study))


def load_seed_and_example_variance(
    directory: str | Path, *, seed: int = 0, resamples: int = NUM_RESAMPLES
) -> pd.DataFrame:
    """Load a study's main effects on test accuracy, with intervals over seeds and test examples, one row each.

    Columns: factor, level, reference; n_seeds (seeds whose trials all recorded their correct examples), n_examples;
    mean_difference (level - reference as a share of the test examples, mean over contexts as in `contrast_table`);
    ci_low, ci_high (95 % t interval over seeds and examples); sd_seeds, sd_examples, sd_rest and standard_error, see
    `SeedAndExampleVariance`; bootstrap_low, bootstrap_high (percentile interval of the Multi-Bootstrap); binomial_error
    (standard error of one trial's accuracy at the reference, from the size of the test set); sentence. With fewer than
    two seeds, the numbers are NaN and the sentence gives the reason.

    Args:
        directory: folder of the study, which holds ledger.sqlite.
        seed: seed of the resampling. Each contrast starts from it, so that a row does not depend on the others.
        resamples: number of resamples.

    Raises:
        LedgerError: if there is no ledger, or it cannot be read.
        InputError: as in `load_correct_examples`.
    """
    with open_ledger(directory) as ledger:
        study = read_study(ledger)
        trials = read_trials(ledger, study)
        table = read_correct_examples(ledger, study, trials)
    return seed_and_example_variance_table(study, trials, table, seed=seed, resamples=resamples)


def read_correct_examples(ledger: Ledger, study: Study, trials: pd.DataFrame) -> CorrectExamples:
    """Read `load_correct_examples`' result from an open ledger, given its frame of trials."""
    correct = dict(ledger.correct())
    factors = [factor.name for factor in study.factors]
    rows = [
        (row["trial_id"], {name: str(row[name]) for name in factors}, int(row["seed"]))
        for row in trials[["trial_id", *factors, "seed"]].to_dict("records")
        if row["trial_id"] in correct
    ]
    if not rows:
        raise InputError(
            f"{ledger.path}: no trial recorded which test examples it classified correctly, so the variance over test "
            "examples cannot be estimated. Let test_step return the predictions, such as "
            "{'logits': ..., 'target': ...} (README, Bring your own module). Trials of older releases lack this record"
        )
    if study.folds is not None:
        raise InputError(
            f"{ledger.path}: seeds are folds with different test examples, so seeds and examples cannot be crossed"
        )
    if reason := _find_difference([(levels, seed, correct[trial_id]) for trial_id, levels, seed in rows]):
        raise InputError(f"{ledger.path}: {reason}")
    num_examples = correct[rows[0][0]].num_examples
    packed = np.stack([np.frombuffer(correct[trial_id].bits, dtype=np.uint8) for trial_id, _, _ in rows])
    is_correct = np.unpackbits(packed, axis=1, count=num_examples).view(np.bool_)
    return CorrectExamples(trial_ids=tuple(trial_id for trial_id, _, _ in rows), is_correct=is_correct)


def seed_and_example_variance_table(
    study: Study, trials: pd.DataFrame, table: CorrectExamples, *, seed: int = 0, resamples: int = NUM_RESAMPLES
) -> pd.DataFrame:
    """Return the table of `load_seed_and_example_variance` for a study that is already loaded."""
    factors = [factor.name for factor in study.factors]
    row_of = {trial_id: row for row, trial_id in enumerate(table.trial_ids)}
    by_cell: dict[Levels, dict[int, int]] = {}  # cell -> seed -> row of the table, for trials with a record
    for record in trials[["trial_id", *factors, "seed"]].to_dict("records"):
        by_seed = by_cell.setdefault(tuple(str(record[name]) for name in factors), {})
        if record["trial_id"] in row_of:
            by_seed[int(record["seed"])] = row_of[record["trial_id"]]
    rows = []
    for factor, level, reference in list_contrasts(study) if len(study.seeds) > 1 else []:
        pairs = _pair_contexts(by_cell, factors.index(factor), level, reference)
        rows.append(_row((factor, level, reference), table, pairs, np.random.default_rng(seed), resamples))
    types = dict.fromkeys(_NUMBERS, "float64") | dict.fromkeys(("n_seeds", "n_examples"), "int64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)


def _find_difference(tested: Sequence[tuple[Mapping[str, str], int, Correct]]) -> str | None:
    """Return why trials were not tested on the same examples, as a clause; None if they were."""
    (first_levels, first_seed, first), *_ = tested
    first_of_cell: dict[str, tuple[int, Correct]] = {}
    for levels, seed, correct in tested:
        here, there = f"{format_cell(levels)}, seed={seed}", f"{format_cell(first_levels)}, seed={first_seed}"
        if correct.num_examples != first.num_examples:
            return (
                f"{there} was tested on {first.num_examples} examples, {here} on {correct.num_examples}; seeds and "
                "examples can only be crossed on a common test set"
            )
        if correct.examples is None:
            return f"the test examples of {here} are unknown, because its test batches hold no tensors"
        other_seed, other = first_of_cell.setdefault(format_cell(levels), (seed, correct))
        if correct.examples != other.examples or correct.targets != other.targets:
            return (
                f"{format_cell(levels)}: seeds {other_seed} and {seed} were not tested on the same examples in the "
                "same order, for example because each seed has its own split, order or vocabulary. Seeds and examples "
                "can only be crossed on a common test set"
            )
        known = correct.targets is not None and first.targets is not None
        if correct.targets != first.targets or (not known and correct.examples != first.examples):
            return (
                f"{there} and {here} were tested on different examples or in a different order; levels can only be "
                "compared example by example on a common test set"
            )
    return None


def _pair_contexts(
    by_cell: Mapping[Levels, Mapping[int, int]], position: int, level: str, reference: str
) -> list[tuple[Mapping[int, int], Mapping[int, int]]]:
    """Return the rows by seed under the level and under the reference, for each context that has both cells."""
    pairs = []
    for cell, at_level in by_cell.items():
        partner = (*cell[:position], reference, *cell[position + 1 :])
        if cell[position] == level and partner in by_cell:
            pairs.append((at_level, by_cell[partner]))
    return pairs


def _row(
    contrast: Contrast,
    table: CorrectExamples,
    pairs: Sequence[tuple[Mapping[int, int], Mapping[int, int]]],
    generator: np.random.Generator,
    resamples: int,
) -> dict[str, Any]:
    seeds = sorted(set.intersection(*(set(rows) for pair in pairs for rows in pair))) if pairs else []
    num_examples = table.is_correct.shape[1]
    names: dict[str, Any] = dict(zip(COLUMNS, (*contrast, len(seeds), num_examples), strict=False))
    _, level, reference = contrast
    if min(len(seeds), num_examples) < 2:  # noqa: PLR2004 -- a variance needs two of each
        why = (
            f"{level} - {reference}: an interval needs two complete seeds and two test examples; there are "
            f"{len(seeds)} and {num_examples}"
        )
        return {**names, **dict.fromkeys(_NUMBERS, np.nan), "sentence": why}
    at_level, at_reference = (
        np.mean([table.is_correct[[pair[side][seed] for seed in seeds]] for pair in pairs], axis=0) for side in (0, 1)
    )
    estimate = estimate_seed_and_example_variance(at_level, at_reference, generator, resamples)
    return {
        **names,
        "mean_difference": estimate.mean,
        **{name: getattr(estimate, name) for name in _NUMBERS[1:-1]},
        "binomial_error": binomial_error(float(at_reference.mean()), num_examples),
        "sentence": _describe_estimate(f"{level} - {reference}", estimate),
    }


def _describe_estimate(what: str, estimate: SeedAndExampleVariance) -> str:
    mean, low, high, seeds, examples = (
        100 * value
        for value in (estimate.mean, estimate.ci_low, estimate.ci_high, estimate.sd_seeds, estimate.sd_examples)
    )
    decimals = max(1, choose_decimals([mean, low, high], (high - low) / 2))
    of = f"{estimate.num_seeds} seeds and {estimate.num_examples:,} examples"
    mean_text, low_text, high_text = (format_number(value, decimals, signed=True) for value in (mean, low, high))
    if np.isnan(low):
        return (
            f"{what}: {mean_text} percentage points of test accuracy for each of {of}; without variation, no "
            "confidence interval can be computed"
        )
    by_seed, by_example = format_number(seeds, decimals), format_number(examples, decimals)
    return (
        f"{what}: {mean_text} percentage points of test accuracy (95 % confidence interval over seeds and test "
        f"examples {low_text} to {high_text}, {of}); the standard deviation of the difference is {by_seed} between "
        f"seeds and {by_example} between test sets of this size, which more seeds do not reduce"
    )

"""Which test examples each trial had right, and what that says of the test set: intervals over seeds and examples.

The bits of two seeds may be crossed only when both were tested on the same examples in the same order. A ledger knows
that by two digests (experiments/training/correct_examples.py), and the rule is:

- all trials have as many examples, and equal targets in equal places;
- within a cell, the examples as the network was given them are equal for all seeds. Between cells they may differ,
  since a level may be another representation of the same examples; where targets are not known, they must not.

A split that is drawn per seed, a fold, an order of each seed's own and a vocabulary learnt on each seed's training
examples fail the second, and the message says so: seeds and examples are then not crossed, and an interval over seeds
covers the test set already as far as each seed has another one.
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
from reports.wording.numbers import choose_decimals, format_cell, format_count, format_number

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
    """Which test examples were right, of the trials that said so.

    trial_ids: (K,), in the order of `load_trials`.
    is_correct: (K, N), one column an example, in the order of the test loader, which all K trials share.
    """

    trial_ids: tuple[str, ...]
    is_correct: NDArray[np.bool_]


def load_correct_examples(directory: str | Path) -> CorrectExamples:
    """Which test examples each trial of a study's folder had right.

    Arguments:
        directory: a study's folder, the one that holds ledger.sqlite.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
        InputError: when no trial said which were right, or when not all were tested on the same examples.
    """
    with open_ledger(directory) as ledger:
        study = read_study(ledger)
        return read_correct_examples(ledger, study, read_trials(ledger, study))


def load_seed_and_example_variance(
    directory: str | Path, *, seed: int = 0, resamples: int = NUM_RESAMPLES
) -> pd.DataFrame:
    """One row a main contrast: the difference in test accuracy, over other seeds and other test examples.

    Columns: factor, level, reference; n_seeds (those whose trials all finished and have bits), n_examples;
    mean_difference (level - reference, a share of the test examples; the mean over contexts, as in `contrast_table`);
    ci_low, ci_high (95 % t interval over seeds and examples together); sd_seeds, sd_examples, sd_rest and
    standard_error, see `SeedAndExampleVariance`; bootstrap_low, bootstrap_high (percentile, Multi-Bootstrap);
    binomial_error (the standard error that the test set alone gives one training's accuracy at the reference);
    sentence. With fewer than two seeds the numbers are NaN, and the sentence says why.

    Arguments:
        directory: a study's folder, the one that holds ledger.sqlite.
        seed: of the resamples; each contrast starts from it, so that a row does not depend on the others.
        resamples: how many.

    Raises:
        LedgerError: when there is no ledger, or it cannot be read.
        InputError: as `load_correct_examples`.
    """
    with open_ledger(directory) as ledger:
        study = read_study(ledger)
        trials = read_trials(ledger, study)
        table = read_correct_examples(ledger, study, trials)
    return seed_and_example_variance_table(study, trials, table, seed=seed, resamples=resamples)


def read_correct_examples(ledger: Ledger, study: Study, trials: pd.DataFrame) -> CorrectExamples:
    """`load_correct_examples` for an open ledger and its trials frame."""
    found = dict(ledger.correct())
    factors = [factor.name for factor in study.factors]
    rows = [
        (row["trial_id"], {name: str(row[name]) for name in factors}, int(row["seed"]))
        for row in trials[["trial_id", *factors, "seed"]].to_dict("records")
        if row["trial_id"] in found
    ]
    if not rows:
        raise InputError(
            f"{ledger.path}: no trial says which test examples it had right, so the luck of the test set cannot be "
            "told from that of the seeds. test_step has to return it, such as {'logits': ..., 'target': ...} "
            "(README, Bring your own module); trials trained by an older release have none"
        )
    if study.folds is not None:
        raise InputError(
            f"{ledger.path}: seeds are folds, each tested on examples of its own, so seeds and examples cannot be "
            "crossed"
        )
    if reason := _why_not_crossed([(levels, seed, found[trial_id]) for trial_id, levels, seed in rows]):
        raise InputError(f"{ledger.path}: {reason}")
    num_examples = found[rows[0][0]].num_examples
    packed = np.stack([np.frombuffer(found[trial_id].bits, dtype=np.uint8) for trial_id, _, _ in rows])
    is_correct = np.unpackbits(packed, axis=1, count=num_examples).view(np.bool_)
    return CorrectExamples(trial_ids=tuple(trial_id for trial_id, _, _ in rows), is_correct=is_correct)


def seed_and_example_variance_table(
    study: Study, trials: pd.DataFrame, table: CorrectExamples, *, seed: int = 0, resamples: int = NUM_RESAMPLES
) -> pd.DataFrame:
    """Return `load_seed_and_example_variance`'s table for data that are already loaded."""
    factors = [factor.name for factor in study.factors]
    row_of = {trial_id: row for row, trial_id in enumerate(table.trial_ids)}
    places: dict[Levels, dict[int, int]] = {}  # cell -> seed -> row of the table; a cell without bits has none
    for record in trials[["trial_id", *factors, "seed"]].to_dict("records"):
        of_cell = places.setdefault(tuple(str(record[name]) for name in factors), {})
        if record["trial_id"] in row_of:
            of_cell[int(record["seed"])] = row_of[record["trial_id"]]
    rows = []
    for factor, level, reference in list_contrasts(study) if len(study.seeds) > 1 else []:
        pairs = _contexts(places, factors.index(factor), level, reference)
        rows.append(_row((factor, level, reference), table, pairs, np.random.default_rng(seed), resamples))
    types = dict.fromkeys(_NUMBERS, "float64") | dict.fromkeys(("n_seeds", "n_examples"), "int64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)


def _why_not_crossed(tested: Sequence[tuple[Mapping[str, str], int, Correct]]) -> str | None:
    """What keeps test sets apart, as the end of a sentence; None where all are one."""
    (first_levels, first_seed, first), *_ = tested
    of_cell: dict[str, tuple[int, Correct]] = {}
    for levels, seed, correct in tested:
        here, there = f"{format_cell(levels)}, seed={seed}", f"{format_cell(first_levels)}, seed={first_seed}"
        if correct.num_examples != first.num_examples:
            return (
                f"{there} was tested on {first.num_examples} examples and {here} on {correct.num_examples}; "
                "seeds and examples can only be crossed on one test set"
            )
        if correct.examples is None:
            return f"it is not known on which examples {here} was tested; its test batches hold no tensors"
        other_seed, other = of_cell.setdefault(format_cell(levels), (seed, correct))
        if correct.examples != other.examples or correct.targets != other.targets:
            return (
                f"{format_cell(levels)}: seeds {other_seed} and {seed} were not tested on the same examples in the "
                "same order, as far as is known: a split, an order or a vocabulary of each seed's own does that. Seeds "
                "and examples can only be crossed on a test set that all seeds share"
            )
        known = correct.targets is not None and first.targets is not None
        if correct.targets != first.targets or (not known and correct.examples != first.examples):
            return (
                f"{there} and {here} were tested on different examples, or in another order; levels can only be "
                "compared example by example on one test set"
            )
    return None


def _contexts(
    places: Mapping[Levels, Mapping[int, int]], position: int, level: str, reference: str
) -> list[tuple[Mapping[int, int], Mapping[int, int]]]:
    """Of each context that has both cells, the rows of the table by seed: under the level and under the reference."""
    pairs = []
    for cell, of_level in places.items():
        partner = (*cell[:position], reference, *cell[position + 1 :])
        if cell[position] == level and partner in places:
            pairs.append((of_level, places[partner]))
    return pairs


def _row(
    contrast: Contrast,
    table: CorrectExamples,
    pairs: Sequence[tuple[Mapping[int, int], Mapping[int, int]]],
    generator: np.random.Generator,
    resamples: int,
) -> dict[str, Any]:
    seeds = sorted(set.intersection(*(set(rows) for pair in pairs for rows in pair))) if pairs else []
    factor, level, reference = contrast
    num_examples = table.is_correct.shape[1]
    names = {
        "factor": factor,
        "level": level,
        "reference": reference,
        "n_seeds": len(seeds),
        "n_examples": num_examples,
    }
    if min(len(seeds), num_examples) < 2:  # noqa: PLR2004 -- a spread needs two of each
        why = f"{level} - {reference}: {format_count(len(seeds), 'seed')} with all trials tested; an interval needs two"
        return {**names, **dict.fromkeys(_NUMBERS, np.nan), "sentence": why}
    at_level, at_reference = (
        np.mean([table.is_correct[[pair[side][seed] for seed in seeds]] for pair in pairs], axis=0) for side in (0, 1)
    )
    found = estimate_seed_and_example_variance(at_level, at_reference, generator, resamples)
    return {
        **names,
        "mean_difference": found.mean,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "sd_seeds": found.sd_seeds,
        "sd_examples": found.sd_examples,
        "sd_rest": found.sd_rest,
        "standard_error": found.standard_error,
        "bootstrap_low": found.bootstrap_low,
        "bootstrap_high": found.bootstrap_high,
        "binomial_error": binomial_error(float(at_reference.mean()), num_examples),
        "sentence": _sentence(f"{level} - {reference}", found),
    }


def _sentence(what: str, found: SeedAndExampleVariance) -> str:
    mean, low, high, seeds, examples = (
        100 * value for value in (found.mean, found.ci_low, found.ci_high, found.sd_seeds, found.sd_examples)
    )
    decimals = max(1, choose_decimals([mean, low, high], (high - low) / 2))
    of = f"{found.num_seeds} seeds and {found.num_examples:,} examples"
    mean_text, low_text, high_text = (format_number(value, decimals, signed=True) for value in (mean, low, high))
    if np.isnan(low):
        return f"{what}: {mean_text} points of test accuracy in each of {of}; no spread to go by"
    by_seed, by_example = format_number(seeds, decimals), format_number(examples, decimals)
    return (
        f"{what}: {mean_text} points of test accuracy, the interval over other seeds and other test examples "
        f"{low_text} to {high_text} (95 %, {of}); the difference varies by {by_seed} from seed to seed "
        f"and by {by_example} from one such test set to the next, which more seeds leave as it is"
    )

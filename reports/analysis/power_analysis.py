"""Before anything is trained: what the planned seeds can find, and with a pilot, how many seeds the margin needs."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.errors import InputError
from experiments.ledger.study_folder import open_ledger
from experiments.study.design import cells_of
from experiments.study.study import Study
from experiments.text import choices
from reports.statistics.paired import fold_overlap
from reports.statistics.power import minimum_detectable_effect, num_pairs_for_difference, num_pairs_for_equivalence
from reports.wording.numbers import choose_decimals, format_count, format_number
from reports.wording.sensitivity import ALPHA

from .cells import collect_outcomes
from .contrasts import contrast_table
from .frame import list_metric_names, read_study, read_trials


def describe_power(study: Study, pilot: str | Path | None = None) -> list[str]:
    """What a study's seeds can find, in sentences. Nothing for one seed, for which there is no test.

    Arguments:
        study: what is to be run.
        pilot: the folder of a finished run of this or a similar study, which has the study's metric; its spread of
            paired differences is taken for what this study's will be.

    Raises:
        LedgerError: when the pilot's folder has no ledger, or it cannot be read.
        InputError: when the pilot did not log the metric, or has no contrast with two complete seeds.
    """
    num_tests = _num_main_effects(study)
    alpha = ALPHA / max(num_tests, 1)
    overlap = fold_overlap(study.folds)
    num_pairs, unit = len(study.seeds), study.unit
    family = f"5 %, Holm over {num_tests} main effects" if num_tests > 1 else "5 %"
    mde = minimum_detectable_effect(num_pairs, alpha, overlap=overlap)
    lines = []
    if num_pairs > 1:
        line = (
            f"{format_count(num_pairs, unit)} find a true difference of {mde:.2f} SD (standard deviations of the "
            f"difference by {unit}) four times in five ({family})"
        )
        if pilot is None:
            line += "; --pilot DIR, a finished run of this or a similar study, tells it in the metric's unit"
        lines.append(line)
    if pilot is None:
        return lines
    found, spreads, fewest = _pilot_spreads(study, pilot)
    sd = float(np.sqrt(np.mean(spreads**2)))  # pooled
    decimals = choose_decimals([sd], sd)
    spread = f"pilot {pilot}: the SD of paired differences is {format_number(sd, decimals)}"
    if len(spreads) > 1:
        low, high = format_number(spreads.min(), decimals), format_number(spreads.max(), decimals)
        spread += f" ({low} to {high} over {len(spreads)} contrasts)"
    factors = [math.sqrt((fewest - 1) / quantile) for quantile in _chi_square_quantiles(fewest - 1)]
    lines.append(_pilot_line(study, found, pilot))
    lines.append(
        f"{spread}; of {format_count(fewest, found.unit)}, it may be {factors[1]:.1f} to {factors[0]:.1f} times that"
    )
    if num_pairs > 1:
        detectable = format_number(mde * sd, choose_decimals([mde * sd], mde * sd))
        lines.append(
            f"at that SD, {format_count(num_pairs, unit)} find a true difference of {detectable} in "
            f"{study.metric.name} four times in five"
        )
    margin = study.metric.margin
    if margin is None:
        return [*lines, "no margin, so there is nothing to say of how many seeds it needs; metric.margin sets one"]
    different = num_pairs_for_difference(margin / sd, alpha, overlap=overlap)
    equal = num_pairs_for_equivalence(margin / sd, overlap=overlap)
    return [
        *lines,
        (
            f"at that SD, for the margin of {margin}: {_needed(different, unit)} to find a difference as large, "
            f"{_needed(equal, unit)} to show that a difference of 0 is inside it"
        ),
    ]


def _pilot_line(study: Study, found: Study, pilot: str | Path) -> str:
    """What the pilot is, and how it differs in kind from what is planned."""
    factors = ", ".join(factor.name for factor in found.factors)
    differs = [
        what
        for what, is_other in (
            ("other data", found.base.get("data") != study.base.get("data")),
            ("another model", found.base.get("model") != study.base.get("model")),
            (f"{found.unit}s instead of {study.unit}s", found.unit != study.unit),
            ("other factors", {f.name for f in found.factors} != {f.name for f in study.factors}),
        )
        if is_other
    ]
    careful = f". Careful: it has {', '.join(differs)}, so its spread may be another" if differs else ""
    return f"the pilot {pilot} is {found.name} ({factors}; {format_count(len(found.seeds), found.unit)}){careful}"


def _num_main_effects(study: Study) -> int:
    """The size of the Holm family of main effects: levels that no excluded cell has taken away."""
    cells = cells_of(study)
    return sum(len({cell.levels[factor.name] for cell in cells}) - 1 for factor in study.factors)


def _pilot_spreads(study: Study, pilot: str | Path) -> tuple[Study, NDArray[np.float64], int]:
    """The pilot's study, the SD of each of its main effects in the metric of `study`, and the fewest seeds of one."""
    with open_ledger(pilot) as ledger:
        found = replace(read_study(ledger), metric=study.metric)
        trials = read_trials(ledger, found)
        logged = list_metric_names(ledger)
    name = study.metric.name
    if name not in logged:
        raise InputError(f"--pilot {pilot}: no trial logged {name!r}{choices(name, logged, 'logged')}")
    contrasts = contrast_table(found, collect_outcomes(found, trials))
    usable = contrasts[(contrasts["context"] == "") & (contrasts["sd_difference"] > 0)]
    if not len(usable):
        raise InputError(
            f"--pilot {pilot}: no contrast has two complete seeds that differ in {name}, so there is no spread to plan "
            "with"
        )
    return found, usable["sd_difference"].to_numpy(dtype=np.float64), int(usable["n"].min())


def _chi_square_quantiles(freedom: int) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles."""
    from scipy.special import chdtri

    return float(chdtri(freedom, 0.975)), float(chdtri(freedom, 0.025))


def _needed(num_pairs: float, unit: str) -> str:
    return f"no number of {unit}s is enough" if math.isinf(num_pairs) else f"{format_count(int(num_pairs), unit)}"

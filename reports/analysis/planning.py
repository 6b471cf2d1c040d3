"""Before anything is trained: what the planned seeds can find, and with a pilot, how many seeds the margin needs."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.errors import InputError
from experiments.study.design import cells_of
from experiments.study.study import Study
from experiments.text import choices
from reports.statistics.power import minimum_detectable_effect, pairs_for_difference, pairs_for_equivalence
from reports.wording.numbers import counted, decimals_for, number
from reports.wording.sensitivity import ALPHA

from .cells import outcomes_of
from .contrasts import contrast_table
from .frame import load_plan, load_trials, metric_column


def planning_lines(study: Study, pilot: str | Path | None = None) -> list[str]:
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
    overlap = 0.0 if study.folds is None else 1 / (study.folds - 1)
    num_pairs, unit = len(study.seeds), study.unit
    family = f"5 %, Holm over {num_tests} main effects" if num_tests > 1 else "5 %"
    mde = minimum_detectable_effect(num_pairs, alpha, overlap=overlap)
    lines = []
    if num_pairs > 1:
        line = (
            f"{counted(num_pairs, unit)} find a true difference of {mde:.2f} SD (standard deviations of the difference "
            f"by {unit}) four times in five ({family})"
        )
        if pilot is None:
            line += "; --pilot DIR, a finished run of this or a similar study, tells it in the metric's unit"
        lines.append(line)
    if pilot is None:
        return lines
    low, sd, high, num_contrasts, fewest = _spread(study, Path(pilot))
    decimals = decimals_for([sd], sd)
    spread = f"pilot {pilot}: the SD of paired differences is {number(sd, decimals)}"
    if num_contrasts > 1:
        spread += f" ({number(low, decimals)} to {number(high, decimals)} over {num_contrasts} contrasts)"
    factors = [math.sqrt((fewest - 1) / quantile) for quantile in _chi_square_quantiles(fewest - 1)]
    lines += _pilot_lines(study, Path(pilot))
    seen = counted(fewest, load_plan(pilot).unit)
    lines.append(f"{spread}; of {seen}, it may be {factors[1]:.1f} to {factors[0]:.1f} times that")
    if num_pairs > 1:
        lines.append(
            f"at that SD, {counted(num_pairs, unit)} find a true difference of "
            f"{number(mde * sd, decimals_for([mde * sd], mde * sd))} in {study.metric.name} four times in five"
        )
    margin = study.metric.margin
    if margin is None:
        return [*lines, "no margin, so there is nothing to say of how many seeds it needs; metric.margin sets one"]
    different = pairs_for_difference(margin / sd, alpha, overlap=overlap)
    equal = pairs_for_equivalence(margin / sd, overlap=overlap)
    return [
        *lines,
        (
            f"at that SD, for the margin of {margin}: {_needed(different, unit)} to find a difference as large, "
            f"{_needed(equal, unit)} to show that a difference of 0 is inside it"
        ),
    ]


def _pilot_lines(study: Study, pilot: Path) -> list[str]:
    """What the pilot is, and how it differs in kind from what is planned."""
    found = load_plan(pilot)
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
    return [f"the pilot {pilot} is {found.name} ({factors}; {counted(len(found.seeds), found.unit)}){careful}"]


def _num_main_effects(study: Study) -> int:
    """The size of the Holm family of main effects: levels that no excluded cell has taken away."""
    cells = cells_of(study)
    return sum(len({cell.levels[factor.name] for cell in cells}) - 1 for factor in study.factors)


def _spread(study: Study, pilot: Path) -> tuple[float, float, float, int, int]:
    """The smallest, pooled (root mean square) and largest SD of the pilot's main effects, how many, fewest seeds."""
    trials = load_trials(pilot)
    found = replace(load_plan(pilot), metric=study.metric)
    name = study.metric.name
    if metric_column(found, name) not in trials:
        known = {"seed", "status", "backend", "seconds", "trial_id", "num_parameters", "diverged_epoch", "attempts"}
        logged = [column for column in trials if column not in {*known, *(f.name for f in found.factors)}]
        raise InputError(f"--pilot {pilot}: no trial logged {name!r}{choices(name, logged, 'logged')}")
    contrasts = contrast_table(found, outcomes_of(found, trials))
    usable = contrasts[(contrasts["context"] == "") & (contrasts["sd_difference"] > 0)]
    if not len(usable):
        raise InputError(
            f"--pilot {pilot}: no contrast has two complete seeds that differ in {name}, so there is no spread to plan "
            "with"
        )
    spreads = usable["sd_difference"].to_numpy(dtype=np.float64)
    pooled = float(np.sqrt(np.mean(spreads**2)))
    return float(spreads.min()), pooled, float(spreads.max()), len(spreads), int(usable["n"].min())


def _chi_square_quantiles(freedom: int) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles."""
    from scipy.special import chdtri

    return float(chdtri(freedom, 0.975)), float(chdtri(freedom, 0.025))


def _needed(num_pairs: float, unit: str) -> str:
    return f"no number of {unit}s is enough" if math.isinf(num_pairs) else f"{counted(int(num_pairs), unit)}"

"""Power analysis before training: detectable differences, and with a pilot the number of seeds for the margin."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.errors import InputError
from experiments.ledger.study_folder import open_ledger
from experiments.study.design import build_cells
from experiments.study.study import Study
from experiments.text import describe_choices
from reports.statistics.paired import fold_overlap
from reports.statistics.power import minimum_detectable_effect, num_pairs_for_difference, num_pairs_for_equivalence
from reports.wording.numbers import choose_decimals, format_count, format_number
from reports.wording.sensitivity import ALPHA

from .cells import collect_outcomes
from .contrasts import contrast_table
from .frame import list_metric_names, read_study, read_trials


def describe_power(study: Study, pilot: str | Path | None = None) -> list[str]:
    """Describe which differences the planned seeds can detect. Without a pilot, one seed gives no lines.

    Args:
        study: the planned study.
        pilot: folder of a finished run of this or a similar study that logged the study's metric. Its standard
            deviation of paired differences is assumed for the study.

    Raises:
        LedgerError: if the pilot's folder has no ledger, or it cannot be read.
        InputError: if the pilot did not log the metric, or has no contrast with two complete seeds.
    """
    num_tests = _num_main_effects(study)
    alpha = ALPHA / max(num_tests, 1)
    overlap = fold_overlap(study.folds)
    num_pairs, unit = len(study.seeds), study.unit
    family = f"at 5 %, Holm over {num_tests} main effects" if num_tests > 1 else "at 5 %"
    mde = minimum_detectable_effect(num_pairs, alpha, overlap=overlap)
    lines = []
    if num_pairs > 1:
        line = (
            f"with {format_count(num_pairs, unit)}, a true difference of {mde:.2f} SD (standard deviations of the "
            f"paired differences) is detected with 80 % power (two-sided t test {family})"
        )
        if pilot is None:
            line += "; with --pilot DIR, a finished run of this or a similar study, also in the metric's unit"
        lines.append(line)
    if pilot is None:
        return lines
    pilot_study, sds, fewest = _load_pilot(study, pilot)
    sd = float(np.sqrt(np.mean(sds**2)))  # pooled
    decimals = choose_decimals([sd], sd)
    line = f"pilot {pilot}: the SD of paired differences is {format_number(sd, decimals)}"
    if len(sds) > 1:
        low, high = format_number(sds.min(), decimals), format_number(sds.max(), decimals)
        line += f", pooled over {len(sds)} contrasts ({low} to {high})"
    factors = [math.sqrt((fewest - 1) / quantile) for quantile in _chi_square_quantiles(fewest - 1)]
    lines.append(_describe_pilot(study, pilot_study, pilot))
    lines.append(
        f"{line}; with {format_count(fewest, pilot_study.unit)}, the 95 % confidence interval of an SD is "
        f"{factors[1]:.1f} to {factors[0]:.1f} times its estimate"
    )
    if num_pairs > 1:
        detectable = format_number(mde * sd, choose_decimals([mde * sd], mde * sd))
        lines.append(
            f"at that SD, with {format_count(num_pairs, unit)}, a true difference of {detectable} in "
            f"{study.metric.name} is detected with 80 % power"
        )
    margin = study.metric.margin
    if margin is None:
        return [*lines, "the study has no margin to plan the number of seeds for; metric.margin sets one"]
    different = num_pairs_for_difference(margin / sd, alpha, overlap=overlap)
    equal = num_pairs_for_equivalence(margin / sd, overlap=overlap)
    return [
        *lines,
        (
            f"at that SD, for the margin of {margin} and 80 % power: {_describe_num_pairs(different, unit)} to detect "
            f"a difference as large as the margin, {_describe_num_pairs(equal, unit)} to show equivalence at a true "
            "difference of 0"
        ),
    ]


def _describe_pilot(study: Study, pilot_study: Study, pilot: str | Path) -> str:
    """Describe the pilot and its differences from the planned study."""
    factors = ", ".join(factor.name for factor in pilot_study.factors)
    differs = [
        what
        for what, is_other in (
            ("other data", pilot_study.base.get("data") != study.base.get("data")),
            ("another model", pilot_study.base.get("model") != study.base.get("model")),
            (f"{pilot_study.unit}s instead of {study.unit}s", pilot_study.unit != study.unit),
            ("other factors", {f.name for f in pilot_study.factors} != {f.name for f in study.factors}),
        )
        if is_other
    ]
    careful = f". Careful: it has {', '.join(differs)}, so its SD may differ" if differs else ""
    return (
        f"the pilot {pilot} is {pilot_study.name} ({factors}; "
        f"{format_count(len(pilot_study.seeds), pilot_study.unit)}){careful}"
    )


def _num_main_effects(study: Study) -> int:
    """Return the size of the Holm family of main effects, without levels whose cells are all excluded."""
    cells = build_cells(study)
    return sum(len({cell.levels[factor.name] for cell in cells}) - 1 for factor in study.factors)


def _load_pilot(study: Study, pilot: str | Path) -> tuple[Study, NDArray[np.float64], int]:
    """Load the pilot's study, the SD of each of its main effects in the metric of `study`, and their fewest seeds."""
    with open_ledger(pilot) as ledger:
        pilot_study = replace(read_study(ledger), metric=study.metric)
        trials = read_trials(ledger, pilot_study)
        logged = list_metric_names(ledger)
    name = study.metric.name
    if name not in logged:
        raise InputError(f"--pilot {pilot}: no trial logged {name!r}{describe_choices(name, logged, 'logged')}")
    contrasts = contrast_table(pilot_study, collect_outcomes(pilot_study, trials))
    usable = contrasts[(contrasts["context"] == "") & (contrasts["sd_difference"] > 0)]
    if not len(usable):
        raise InputError(
            f"--pilot {pilot}: no contrast has two complete seeds that differ in {name}, so there is no "
            "standard deviation to plan with"
        )
    return pilot_study, usable["sd_difference"].to_numpy(dtype=np.float64), int(usable["n"].min())


def _chi_square_quantiles(freedom: int) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles."""
    from scipy.special import chdtri

    return float(chdtri(freedom, 0.975)), float(chdtri(freedom, 0.025))


def _describe_num_pairs(num_pairs: float, unit: str) -> str:
    return f"no number of {unit}s is enough" if math.isinf(num_pairs) else f"{format_count(int(num_pairs), unit)}"

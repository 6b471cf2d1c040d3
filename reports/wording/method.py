"""How a study's numbers came about, in sentences: what was measured, on which design, and what the intervals cover."""

from typing import Any

from experiments.study.study import Study
from experiments.text import listed

from .numbers import format_count

VALIDATION = ("val", "valid", "validation")  # what metrics of the validation split begin with
_SPLITS = {**dict.fromkeys(VALIDATION, "validation"), "train": "training"}


def describe_method(study: Study, num_cells: int) -> dict[str, str]:
    """The sentences by subject: Metric, Design, Seeds or Folds, Intervals, Verdicts."""
    lines = {"Metric": describe_metric(study), "Design": _design_line(study, num_cells)}
    lines |= {"Seeds": _seeds_line(study)} if study.folds is None else {"Folds": describe_folds(study)}
    if len(study.seeds) > 1:
        lines |= {"Intervals": _interval_line(study), "Verdicts": _verdict_line(study)}
    return lines


def describe_metric(study: Study) -> str:
    """What number of a trial is compared, and that no epoch was picked for its score."""
    metric = study.metric
    better = "more is better" if metric.goal == "max" else "less is better"
    split = metric.name.partition("/")[0]
    if split == "test":
        when = (
            "at the end of training (last epoch; no epoch was chosen by its score); the test split is scored once a "
            "trial"
        )
    else:
        of = f", on the {_SPLITS[split]} split" if split in _SPLITS else ""
        when = f"as of the last epoch{of} (no epoch was chosen by its score)"
    everywhere = _stopping(study.base)
    somewhere = [_stopping(level.changes) for factor in study.factors for level in factor.levels]
    monitored = list(dict.fromkeys(name for name in (everywhere, *somewhere) if name is not None))
    if monitored:
        stopping = " and ".join(monitored)
        chosen = ", so its last value is chosen by its own score" if metric.name in monitored else ""
        where = "training" if everywhere is not None else "where a level says so, training"
        when = when.replace(" (last epoch; no epoch was chosen by its score)", "").replace(
            " (no epoch was chosen by its score)", ""
        )
        when += f"; {where} stops early by {stopping}{chosen}"
    return f"{metric.name} {when}; {better}."


def describe_scope(study: Study) -> str:
    """Which source of variance each interval of the report covers; the sentence that belongs beside every figure."""
    if len(study.seeds) == 1:
        return f"With one {study.unit} there is no interval, so no source of variance is covered."
    if study.folds is not None:
        return (
            "Intervals of differences, interactions, claims, cells and curves cover other draws of training and test "
            "examples of this data set together with the seed's other draws, corrected for the examples that folds "
            "share; those of rates take folds as independent. None covers another data set, or other values of what "
            "all cells share."
        )
    test = ", other test examples" if study.metric.name.startswith("test/") else ""
    return (
        "Intervals of differences, interactions, claims, cells, shares and curves cover re-training with other seeds "
        "(initial values, the order of the data, dropout and, where the data module draws one, the split); those of "
        "curves hold for each epoch alone; those of rates cover more trials of the same cell. None covers another data "
        f"set{test} or other values of what all cells share."
    )


def _stopping(node: Any) -> str | None:
    """What an EarlyStopping anywhere in a study monitors; None without one."""
    if isinstance(node, dict):
        if str(node.get("class_path", "")).endswith("EarlyStopping"):
            return str((node.get("init_args") or {}).get("monitor", "a metric"))
        node = list(node.values())
    if isinstance(node, list):
        return next((found for item in node if (found := _stopping(item)) is not None), None)
    return None


def _design_line(study: Study, num_cells: int) -> str:
    levels = "; ".join(
        f"{factor.name}: " + ", ".join(_marked(level, factor.reference) for level in factor.level_names)
        for factor in study.factors
    )
    if study.design == "full":
        sizes = " × ".join(str(len(factor.levels)) for factor in study.factors)
        kind = f"every combination of {sizes} levels"
    else:
        kind = "each level alone against the reference of all factors, so how factors interact cannot be estimated"
    excluded = ", some excluded" if study.exclude else ""
    return f"{kind}{excluded}: {format_count(num_cells, 'cell')}. {levels}."


def describe_folds(study: Study) -> str:
    """What the folds of a study are, and why they are not as good as independent seeds."""
    folds = study.folds or 0
    line = (
        f"{format_count(len(study.seeds), 'fold')} a cell, seed s being fold s mod {folds} of the data module's "
        f"{folds}-fold cross-validation ({'seed' if len(study.seeds) == 1 else 'seeds'} {_seeds(study)}"
    )
    if study.num_repetitions > 1:
        line += f": {study.num_repetitions} repetitions, each with another partition of the examples"
    if not study.missing_folds:
        line += "). Every example is tested once" + (" a repetition" if study.num_repetitions > 1 else "")
    else:
        line += "). Folds are missing, so not every example is tested as often"
    if folds == 2:  # noqa: PLR2004 -- halves
        return f"{line}; what one fold trains on, the other tests on, so folds are not independent."
    share = 100 * (folds - 2) / (folds - 1)
    return (
        f"{line}; the training sets of two folds share {share:.0f} % of their examples, so folds are not independent."
    )


def _seeds_line(study: Study) -> str:
    return f"{format_count(len(study.seeds), 'seed')} a cell: {_seeds(study)}."


def _seeds(study: Study) -> str:
    seeds = study.seeds
    is_range = len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))  # noqa: PLR2004 -- "0, 1"
    return f"{seeds[0]} to {seeds[-1]}" if is_range else listed(seeds)


def _interval_line(study: Study) -> str:
    if study.folds is not None:
        return _fold_interval_line(study.folds)
    test = ", nor other test examples" if study.metric.name.startswith("test/") else ""
    return (
        "differences have paired 95 % t intervals over the differences within each seed; cell means have 95 % t "
        "intervals over seeds. Both cover re-training with other seeds, that is, everything that a seed varies: "
        "initial values, the order of the data, dropout and, where the data module draws one, the split. They do not "
        f"cover another data set, or other values of what all cells share{test}."
    )


def _fold_interval_line(folds: int) -> str:
    return (
        "differences have paired 95 % t intervals over the differences within each fold; cell means have 95 % t "
        "intervals over folds. Since folds share training examples, the variance of a mean over J folds is taken as "
        f"SD² (1/J + 1/{folds - 1}), with J - 1 degrees of freedom: the corrected resampled t of Nadeau & Bengio "
        "(2003), an approximation that is rather too wide than too narrow; no unbiased estimator of that variance "
        "exists (Bengio & Grandvalet 2004). Intervals cover other draws of training and test examples of this data "
        "set, with the seed's other draws: initial values, the order of the data and dropout. They do not cover "
        "another data set, or other values of what all cells share."
    )


def _verdict_line(study: Study) -> str:
    margin = study.metric.margin
    equivalent = (
        "The study names no margin, so nothing is called equivalent."
        if margin is None
        else f"Equivalent: not shown to differ, and the 90 % interval lies inside the margin of ±{margin} (TOST, not "
        "adjusted)."
    )
    return (
        "a level improves or harms when p, adjusted by Holm's method, is below 0.05. Main effects are one family of "
        f"tests, simple effects and claims one each. {equivalent} Undecided is not the same as no effect. All of this "
        f"is for a number of {study.unit}s that was set before: adding some until a verdict comes finds differences "
        "where there are none more often than 5 % (looks at 5, 10, 15 and 20 seeds: 13 %)."
    )


def _marked(level: str, reference: str) -> str:
    return f"{level} (reference)" if level == reference else level

"""Description of a study's method: metric, design, seeds or folds, intervals and verdicts."""

from typing import Any

from experiments.study.study import Study
from experiments.text import join_names

from .numbers import format_count

VALIDATION = ("val", "valid", "validation")  # prefixes of metrics on the validation split
_SPLITS = {**dict.fromkeys(VALIDATION, "validation"), "train": "training"}


def describe_method(study: Study, num_cells: int) -> dict[str, str]:
    """Describe the method in sentences by subject: Metric, Design, Seeds or Folds, Intervals, Verdicts."""
    lines = {"Metric": describe_metric(study), "Design": _describe_design(study, num_cells)}
    lines |= {"Seeds": _describe_seeds(study)} if study.folds is None else {"Folds": describe_folds(study)}
    if len(study.seeds) > 1:
        lines |= {"Intervals": _describe_intervals(study), "Verdicts": _describe_verdicts(study)}
    return lines


def describe_metric(study: Study) -> str:
    """Describe which value of the metric is compared, and whether early stopping selects its epoch."""
    metric = study.metric
    better = "higher is better" if metric.goal == "max" else "lower is better"
    split = metric.name.partition("/")[0]
    on_split = f" on the {_SPLITS[split]} split" if split in _SPLITS else ""
    once = "; the test split is evaluated once per trial" if split == "test" else ""
    everywhere = _find_stopping(study.base)
    by_level = [_find_stopping(level.changes) for factor in study.factors for level in factor.levels]
    monitored = list(dict.fromkeys(name for name in (everywhere, *by_level) if name is not None))
    if monitored:
        training = "training" if everywhere is not None else "with some levels, training"
        selected = ", so its epoch is selected by its own score" if metric.name in monitored else ""
        stopping = f"; {training} stops early on {' and '.join(monitored)}{selected}"
    else:
        stopping = " (no epoch is selected by its score)"
    return f"{metric.name}{on_split} after the last epoch{stopping}{once}; {better}."


def describe_scope(study: Study) -> str:
    """Describe which sources of variance the intervals of the report cover."""
    if len(study.seeds) == 1:
        return f"With one {study.unit}, there are no confidence intervals."
    if study.folds is not None:
        return (
            "Confidence intervals of differences, interactions, claims, cells and curves cover other samples of "
            "training and test examples from this data set and retraining, corrected for the training examples that "
            "folds share. Those of rates treat folds as independent. None covers another data set, or other values of "
            "settings that all cells share."
        )
    test = ", other test examples" if study.metric.name.startswith("test/") else ""
    return (
        "Confidence intervals of differences, interactions, claims, cells, shares of variance and curves cover "
        "retraining with other seeds (initial values, data order, dropout and, if the data module draws one, the "
        "split). Those of curves are pointwise, that is, for each epoch separately. Those of rates cover further "
        f"trials of the same cell. None covers another data set{test} or other values of settings that all cells share."
    )


def _find_stopping(node: Any) -> str | None:
    """Return what the first EarlyStopping in a configuration monitors; None without one."""
    if isinstance(node, dict):
        if str(node.get("class_path", "")).endswith("EarlyStopping"):
            return str((node.get("init_args") or {}).get("monitor", "a metric"))
        node = list(node.values())
    if isinstance(node, list):
        return next((found for item in node if (found := _find_stopping(item)) is not None), None)
    return None


def _describe_design(study: Study, num_cells: int) -> str:
    levels = "; ".join(
        f"{factor.name}: " + ", ".join(_mark_reference(level, factor.reference) for level in factor.level_names)
        for factor in study.factors
    )
    if study.design == "full":
        sizes = " × ".join(str(len(factor.levels)) for factor in study.factors)
        kind = f"full factorial, {sizes} levels"
    else:
        kind = "one factor at a time, with the others at their reference, so interactions cannot be estimated"
    excluded = ", without the excluded cells" if study.exclude else ""
    return f"{kind}{excluded}: {format_count(num_cells, 'cell')}. {levels}."


def describe_folds(study: Study) -> str:
    """Describe the folds of a study, and why they are not independent."""
    folds = study.folds or 0
    line = (
        f"{format_count(len(study.seeds), 'fold')} per cell: seed s is fold s mod {folds} of the data module's "
        f"{folds}-fold cross-validation ({'seed' if len(study.seeds) == 1 else 'seeds'} {_format_seeds(study)}"
    )
    if study.num_repetitions > 1:
        line += f"; {study.num_repetitions} repetitions, each with a new partition of the examples"
    if not study.missing_folds:
        line += "). Every example is tested once" + (" per repetition" if study.num_repetitions > 1 else "")
    else:
        line += "). Some folds are missing, so examples are not tested equally often"
    if folds == 2:  # noqa: PLR2004 -- halves
        return f"{line}; each fold trains on the test examples of the other, so folds are not independent."
    share = 100 * (folds - 2) / (folds - 1)
    return (
        f"{line}; the training sets of two folds share {share:.0f} % of their examples, so folds are not independent."
    )


def _describe_seeds(study: Study) -> str:
    return f"{format_count(len(study.seeds), 'seed')} per cell: {_format_seeds(study)}."


def _format_seeds(study: Study) -> str:
    seeds = study.seeds
    is_range = len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))  # noqa: PLR2004 -- "0, 1"
    return f"{seeds[0]} to {seeds[-1]}" if is_range else join_names(seeds)


def _describe_intervals(study: Study) -> str:
    if study.folds is not None:
        return _describe_fold_intervals(study.folds)
    test = ", other test examples" if study.metric.name.startswith("test/") else ""
    return (
        "differences have 95 % confidence intervals of the paired t test, with one pair per seed; cell means have 95 % "
        "t intervals over seeds. Both cover retraining with other seeds, that is, everything that a seed determines: "
        "initial values, data order, dropout and, if the data module draws one, the split. They do not cover another "
        f"data set{test} or other values of settings that all cells share."
    )


def _describe_fold_intervals(folds: int) -> str:
    return (
        "differences have 95 % confidence intervals of the paired t test, with one pair per fold; cell means have 95 % "
        "t intervals over folds. Because folds share training examples, the variance of a mean over J folds is taken "
        f"as SD² (1/J + 1/{folds - 1}), with J - 1 degrees of freedom. This is the corrected resampled t test of "
        "Nadeau & Bengio (2003), an approximation that tends to be conservative; no unbiased estimator of this "
        "variance exists (Bengio & Grandvalet 2004). Intervals cover other samples of training and test examples from "
        "this data set, and everything else that a seed determines: initial values, data order and dropout. They do "
        "not cover another data set or other values of settings that all cells share."
    )


def _describe_verdicts(study: Study) -> str:
    margin = study.metric.margin
    equivalent = (
        "The study has no margin, so no verdict is equivalent."
        if margin is None
        else "Equivalent means that no difference is shown and that the 90 % confidence interval lies inside the "
        f"margin of ±{margin} (TOST: two one-sided tests at 5 %, not adjusted)."
    )
    return (
        "a level improves or harms the metric if the Holm-adjusted p-value is below 0.05. Main effects, simple "
        f"effects, interactions and claims are separate families of tests. {equivalent} Undecided does not mean that "
        f"there is no effect. Error rates hold if the number of {study.unit}s was fixed in advance: adding "
        f"{study.unit}s until a verdict appears raises the false-positive rate above 5 % (13 % if tested after 5, 10, "
        "15 and 20 seeds)."
    )


def _mark_reference(level: str, reference: str) -> str:
    return f"{level} (reference)" if level == reference else level

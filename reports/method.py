"""How a study's numbers came about, in sentences: what was measured, on which design, and what the intervals cover."""

from typing import Any

from experiments.errors import listed
from experiments.study import Study

from .text import counted

_SPLITS = {"val": "validation", "valid": "validation", "validation": "validation", "train": "training"}


def method_lines(study: Study, num_cells: int) -> dict[str, str]:
    """The sentences by subject: Metric, Design, Seeds, Intervals, Verdicts."""
    lines = {"Metric": selection_line(study), "Design": _design_line(study, num_cells), "Seeds": _seeds_line(study)}
    if len(study.seeds) > 1:
        lines |= {"Intervals": _interval_line(study), "Verdicts": _verdict_line(study)}
    return lines


def selection_line(study: Study) -> str:
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
    stopping = _stopping(study.to_dict())
    if stopping is not None:
        chosen = ", so its last value is chosen by its own score" if stopping == metric.name else ""
        when = when.replace(" (last epoch; no epoch was chosen by its score)", "").replace(
            " (no epoch was chosen by its score)", ""
        )
        when += f"; training stops early by {stopping}{chosen}"
    return f"{metric.name} {when}; {better}."


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
    return f"{kind}{excluded}: {counted(num_cells, 'cell')}. {levels}."


def _seeds_line(study: Study) -> str:
    seeds = study.seeds
    is_range = len(seeds) > 2 and seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))  # noqa: PLR2004 -- "0, 1"
    return f"{counted(len(seeds), 'seed')} a cell: {f'{seeds[0]} to {seeds[-1]}' if is_range else listed(seeds)}."


def _interval_line(study: Study) -> str:
    test = ", nor other test examples" if study.metric.name.startswith("test/") else ""
    return (
        "differences have paired 95 % t intervals over the differences within each seed; cell means have 95 % t "
        "intervals over seeds. Both cover re-training with other seeds, that is, everything that a seed varies: "
        "initial values, the order of the data, dropout and, where the data module draws one, the split. They do not "
        f"cover another data set, or other values of what all cells share{test}."
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
        f"tests, simple effects and claims one each. {equivalent} Undecided is not the same as no effect."
    )


def _marked(level: str, reference: str) -> str:
    return f"{level} (reference)" if level == reference else level

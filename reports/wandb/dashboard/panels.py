"""Run sets and panels of a dashboard: by factor, by cell, and for metrics inside the networks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

from experiments.study.mechanisms import MECHANISM, is_mechanism, split_metric
from experiments.study.study import Factor
from reports.analysis.frame import name_metric_column
from reports.mechanism_maps import LOG, QUANTITIES, is_ratio, list_scalar_metrics
from reports.report import Report
from reports.wandb.destination import Destination
from reports.wandb.run_content import AGGREGATE, TRAIN, get_factor_keys, get_metric_key
from reports.wording.method import VALIDATION

EPOCH = "epoch"
_SPLITS = {"train", "training", "test", *VALIDATION}
_MAX_SCALARS, _MAX_QUANTITIES = 4, 4  # of mechanisms; a quantity has three panels
_LOGARITHMIC = tuple(f"{MECHANISM}{quantity.name}/" for quantity in QUANTITIES if quantity.kind == LOG)
_DEFAULT_RUNS, _MAX_RUNS = 10, 1000  # that W&B draws in a panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Names of the metrics in a study's runs.

    epochs: losses and scores in the history. The study's metric is first, or else that metric of another split.
    internal: metrics inside the network in the history, such as grad/layer1 or activation/dead.
    mechanisms: some of the suite's mechanism metrics in the history: ratios, gaps, and the main quantities in the
        first layer, a middle one and the last.
    finals: metrics in the summary. The study's metric is first.
    """

    epochs: tuple[str, ...]
    internal: tuple[str, ...]
    mechanisms: tuple[str, ...]
    finals: tuple[str, ...]


def list_metrics(report: Report) -> Metrics:
    """Return the metrics that any trial of the study has logged."""
    study = report.study
    known = {"trial_id", *(factor.name for factor in study.factors), "seed", EPOCH}
    logged = [_metric(report, column) for column in report.curves.columns if column not in known]
    columns = list(report.trials.columns)
    finals = [_metric(report, column) for column in columns[columns.index("backend") + 1 : columns.index("seconds")]]
    own = get_metric_key(study.metric.name)
    split, _, rest = own.partition("/")

    def rank(name: str) -> tuple[bool, bool, bool]:
        is_of_other_split = bool(rest) and split in _SPLITS and name.partition("/")[2] == rest
        return name != own, not is_of_other_split, name.partition("/")[0] not in VALIDATION

    return Metrics(
        epochs=tuple(sorted((name for name in logged if not is_internal_metric(name)), key=rank)),
        internal=tuple(name for name in logged if is_internal_metric(name) and not is_mechanism(name)),
        mechanisms=tuple(_main_mechanisms(report)),
        finals=tuple(sorted(finals, key=rank)),
    )


def is_internal_metric(metric: str) -> bool:
    """Return whether a metric belongs to the inside of a network: the part before / is not the name of a split.

    >>> [is_internal_metric(name) for name in ("val/loss", "loss", "grad/layer1", "test/f1/macro")]
    [False, False, True, False]
    """
    split, slash, _ = metric.partition("/")
    return bool(slash) and split.lower() not in _SPLITS


def _main_mechanisms(report: Report) -> Iterator[str]:
    yield from list_scalar_metrics(report)[:_MAX_SCALARS]
    logged = [name for name in map(str, report.curves.columns) if split_metric(name)]
    for quantity in QUANTITIES[:_MAX_QUANTITIES]:
        layers = [name for name in logged if (split_metric(name) or ("",))[0] == quantity.name]
        yield from dict.fromkeys(layers[index] for index in (0, len(layers) // 2, -1) if layers)


def get_factor_key(report: Report, factor: Factor) -> str:
    """Return the key of a factor's levels in a config. W&B adds `value` below each top-level key."""
    return f"factors.value.{get_factor_keys(other.name for other in report.study.factors)[factor.name]}"


def is_averaged_by_level(report: Report) -> bool:
    """Return whether all runs of a level take part in its contrasts; else some of them change other factors."""
    return report.study.design == "full" or len(report.study.factors) == 1


def make_trial_runset(report: Report, destination: Destination) -> Any:
    """Return the run set of all trials, grouped by all factors: a group is a cell, and its runs are the seeds."""
    keys = [get_factor_key(report, factor) for factor in report.study.factors]
    metric = get_metric_key(report.study.metric.name)
    return wr.Runset(
        name="Trials",
        filters=make_filter(destination, [TRAIN]),
        groupby=[f"config.{key}" for key in keys],
        order=[wr.OrderBy(wr.SummaryMetric(metric), ascending=report.study.metric.goal == "min")],
        visible_columns=[
            *(f"config:{key}" for key in keys),
            *("config:seed.value", f"summary:{metric}", "summary:trial/status", "summary:trial/seconds"),
        ],
    )


def make_factor_runset(report: Report, destination: Destination, factor: Factor) -> Any:
    """Return the run set of one factor, grouped by it: all trials, or those with all other factors at the reference."""
    others = {
        get_factor_key(report, other): other.reference
        for other in report.study.factors
        if other.name != factor.name and not is_averaged_by_level(report)
    }
    runs = make_trial_runset(report, destination)
    runs.name, runs.groupby = factor.name, [f"config.{get_factor_key(report, factor)}"]
    runs.filters = make_filter(destination, [TRAIN], others)
    return runs


def make_table_runset(destination: Destination) -> Any:
    """Return the run set with the report's run only."""
    return wr.Runset(name="Tables", filters=make_filter(destination, [AGGREGATE]))


def make_filter(destination: Destination, job_types: Sequence[str], levels: Mapping[str, str] = {}) -> str:
    """Return the filter of a run set, as an expression of wandb-workspaces.

    Args:
        destination: destination of the runs.
        job_types: accepted job types.
        levels: required level by key of the config.
    """
    parts = [f"Metric('Group') == {_literal(destination.group)}"]
    jobs = [_literal(job_type) for job_type in job_types]
    parts.append(f"Metric('JobType') == {jobs[0]}" if len(jobs) == 1 else f"Metric('JobType') in [{', '.join(jobs)}]")
    parts += [f"Config({_literal(key)}) == {_literal(level)}" for key, level in levels.items()]
    return " and ".join(parts)


def _literal(text: str) -> str:
    """Return a string literal with all signs escaped: = and < are replaced before an expression is parsed."""
    return "'" + "".join(char if char.isalnum() else f"\\U{ord(char):08x}" for char in text) + "'"


def plot_factor(report: Report, factor: Factor, metrics: Iterable[str], *, final: str | None = None) -> list[Any]:
    """Return a bar plot of the final metric and a curve of each other metric, with a group for each level of a factor.

    Args:
        report: report on the study.
        factor: factor of the study.
        metrics: metrics in the history.
        final: metric in the summary; None if no trial has one.
    """
    trials = report.trials
    for other in report.study.factors:
        if other.name != factor.name and not is_averaged_by_level(report):
            trials = trials[trials[other.name] == other.reference]
    sizes = trials[factor.name].value_counts()
    runs = f"{_span(sizes[sizes > 0])} runs a level"
    return _plots(report, f"by {factor.name}", runs, get_factor_key(report, factor), metrics, final)


def plot_cells(report: Report, metrics: Iterable[str], *, final: str | None = None) -> list[Any]:
    """Return the same plots with a group for each cell, so that bands show the variation over seeds only."""
    runs = f"{len(report.study.seeds)} {report.study.unit}s a cell"
    return _plots(report, "by cell", runs, None, metrics, final)


def count_runs_to_show(report: Report) -> int:
    """Return the number of runs that a panel has to show; W&B's default is ten."""
    return min(max(_DEFAULT_RUNS, len(report.trials)), _MAX_RUNS)


def _plots(
    report: Report, by_what: str, runs: str, key: str | None, metrics: Iterable[str], final: str | None
) -> list[Any]:
    """Return plots of means and standard deviations by group: of a key, or of the run set if the key is None."""

    def options(metric: str) -> dict[str, Any]:
        return {
            "title": f"{metric} {by_what}: mean and SD, {runs}",
            "groupby": None if key is None else wr.Config(key),
            "groupby_aggfunc": "mean",
            "groupby_rangefunc": "stddev",
            "max_runs_to_show": count_runs_to_show(report),
        }

    def is_log(metric: str) -> bool:
        return is_ratio(metric) or metric.startswith(_LOGARITHMIC)

    bars = [
        wr.BarPlot(metrics=[metric], max_bars_to_show=count_runs_to_show(report), **options(f"final {metric}"))
        for metric in ([] if final is None else [final])
    ]
    return bars + [
        wr.LinePlot(x=EPOCH, y=[metric], title_x=EPOCH, log_y=is_log(metric) or None, **options(metric))
        for metric in metrics
    ]


def _span(counts: Iterable[int]) -> str:
    sizes = sorted(set(counts))
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _metric(report: Report, column: str) -> str:
    """Return the key in W&B of the metric in a column of the report's frames."""
    plain = column.removesuffix(" (metric)")
    return get_metric_key(plain if name_metric_column(report.study, plain) == column else column)

"""Which panels show a study: for every factor, for its cells, and for what happens inside the networks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr

from experiments.study.mechanisms import MECHANISM, is_mechanism, split_metric
from experiments.study.study import Factor
from reports.analysis.frame import name_metric_column
from reports.mechanism_maps import LOG, QUANTITIES, is_ratio, list_scalar_metrics
from reports.report import Report
from reports.wandb.destination import Place
from reports.wandb.run_content import AGGREGATE, TRAIN, factor_keys, metric_key
from reports.wording.method import VALIDATION

EPOCH = "epoch"
_SPLITS = {"train", "training", "test", *VALIDATION}
_MOST_SCALARS, _MOST_QUANTITIES = 4, 4  # of mechanisms, the latter with three panels each
_IN_FACTORS = tuple(f"{MECHANISM}{quantity.name}/" for quantity in QUANTITIES if quantity.kind == LOG)
_FEWEST_RUNS, _MOST_RUNS = 10, 1000  # W&B's default, and what it draws of a panel


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The names of the metrics that the runs of a study hold.

    epochs: of the history, the study's first or, where it has none of that name, its namesake of another split.
    inside: of the history too, but of what happens inside the network: grad/layer1, activation/dead.
    mechanisms: of the history too, a few of those that the suite measures itself: ratios and gaps, and of the
        quantities that say most the first layer, one in the middle and the last.
    finals: of the summary, the study's first.
    """

    epochs: tuple[str, ...]
    inside: tuple[str, ...]
    mechanisms: tuple[str, ...]
    finals: tuple[str, ...]


def metrics_of(report: Report) -> Metrics:
    """The metrics that some trial of the study logged."""
    study = report.study
    known = {"trial_id", *(factor.name for factor in study.factors), "seed", EPOCH}
    logged = [_metric(report, column) for column in report.curves.columns if column not in known]
    columns = list(report.trials.columns)
    finals = [_metric(report, column) for column in columns[columns.index("backend") + 1 : columns.index("seconds")]]
    own = metric_key(study.metric.name)
    split, _, rest = own.partition("/")

    def nearness(name: str) -> tuple[bool, bool, bool]:
        is_namesake = bool(rest) and split in _SPLITS and name.partition("/")[2] == rest
        return name != own, not is_namesake, name.partition("/")[0] not in VALIDATION

    return Metrics(
        epochs=tuple(sorted((name for name in logged if not is_inside(name)), key=nearness)),
        inside=tuple(name for name in logged if is_inside(name) and not is_mechanism(name)),
        mechanisms=tuple(_main_mechanisms(report)),
        finals=tuple(sorted(finals, key=nearness)),
    )


def is_inside(metric: str) -> bool:
    """Whether a metric tells of the inside of a network, and is no loss or score of a split: by what stands before /.

    >>> [is_inside(name) for name in ("val/loss", "loss", "grad/layer1", "test/f1/macro")]
    [False, False, True, False]
    """
    split, slash, _ = metric.partition("/")
    return bool(slash) and split.lower() not in _SPLITS


def _main_mechanisms(report: Report) -> Iterator[str]:
    yield from list_scalar_metrics(report)[:_MOST_SCALARS]
    logged = [name for name in map(str, report.curves.columns) if split_metric(name)]
    for quantity in QUANTITIES[:_MOST_QUANTITIES]:
        layers = [name for name in logged if (split_metric(name) or ("",))[0] == quantity.name]
        yield from dict.fromkeys(layers[place] for place in (0, len(layers) // 2, -1) if layers)


def factor_key(report: Report, factor: Factor) -> str:
    """Where W&B keeps the levels of a factor: each top-level key of a config has its content under `value`."""
    return f"factors.value.{factor_keys(other.name for other in report.study.factors)[factor.name]}"


def is_averaged_by_level(report: Report) -> bool:
    """Whether a level's runs are those of its contrasts: not where they stand beside other factors' changes."""
    return report.study.design == "full" or len(report.study.factors) == 1


def training_runs(report: Report, place: Place) -> Any:
    """The run set of all trials, grouped by all factors, so that a group is a cell and its runs are the seeds."""
    keys = [factor_key(report, factor) for factor in report.study.factors]
    metric = metric_key(report.study.metric.name)
    return wr.Runset(
        name="Trials",
        filters=filters_of(place, [TRAIN]),
        groupby=[f"config.{key}" for key in keys],
        order=[wr.OrderBy(wr.SummaryMetric(metric), ascending=report.study.metric.goal == "min")],
        visible_columns=[
            *(f"config:{key}" for key in keys),
            *("config:seed.value", f"summary:{metric}", "summary:trial/status", "summary:trial/seconds"),
        ],
    )


def factor_runs(report: Report, place: Place, factor: Factor) -> Any:
    """The run set of one factor, grouped by it: all trials, or those that have every other factor at its reference."""
    others = {
        factor_key(report, other): other.reference
        for other in report.study.factors
        if other.name != factor.name and not is_averaged_by_level(report)
    }
    runs = training_runs(report, place)
    runs.name, runs.groupby = factor.name, [f"config.{factor_key(report, factor)}"]
    runs.filters = filters_of(place, [TRAIN], others)
    return runs


def table_runs(place: Place) -> Any:
    """The run set of the one run that holds the study's tables and its page."""
    return wr.Runset(name="Tables", filters=filters_of(place, [AGGREGATE]))


def filters_of(place: Place, job_types: Sequence[str], levels: Mapping[str, str] = {}) -> str:
    """Which runs of a study a run set has, as an expression of wandb-workspaces.

    Args:
        place: where the runs are.
        job_types: that they may have.
        levels: the level that they have under each of these keys of their config.
    """
    parts = [f"Metric('Group') == {_literal(place.group)}"]
    jobs = [_literal(job_type) for job_type in job_types]
    parts.append(f"Metric('JobType') == {jobs[0]}" if len(jobs) == 1 else f"Metric('JobType') in [{', '.join(jobs)}]")
    parts += [f"Config({_literal(key)}) == {_literal(level)}" for key, level in levels.items()]
    return " and ".join(parts)


def _literal(text: str) -> str:
    """A string literal without signs, since W&B replaces = and < before it parses an expression."""
    return "'" + "".join(char if char.isalnum() else f"\\U{ord(char):08x}" for char in text) + "'"


def factor_plots(report: Report, factor: Factor, metrics: Iterable[str], *, final: str | None = None) -> list[Any]:
    """A bar of the final metric and a curve of each other metric, a group for each level of a factor.

    Arguments:
        report: of the study.
        factor: one of the study's.
        metrics: of the history.
        final: of the summary; None where no trial has it.
    """
    trials = report.trials
    for other in report.study.factors:
        if other.name != factor.name and not is_averaged_by_level(report):
            trials = trials[trials[other.name] == other.reference]
    sizes = trials[factor.name].value_counts()
    runs = f"{_span(sizes[sizes > 0])} runs a level"
    return _plots(report, f"by {factor.name}", runs, factor_key(report, factor), metrics, final)


def cell_plots(report: Report, metrics: Iterable[str], *, final: str | None = None) -> list[Any]:
    """The same with a group for each cell, so that the band is over seeds alone."""
    runs = f"{len(report.study.seeds)} {report.study.unit}s a cell"
    return _plots(report, "by cell", runs, None, metrics, final)


def most_runs(report: Report) -> int:
    """How many runs a panel has to show; W&B shows ten where nobody says more."""
    return min(max(_FEWEST_RUNS, len(report.trials)), _MOST_RUNS)


def _plots(
    report: Report, by_what: str, runs: str, key: str | None, metrics: Iterable[str], final: str | None
) -> list[Any]:
    """Panels of a mean with a band of one standard deviation for each group: by a key, or as the run set has them."""

    def options(metric: str) -> dict[str, Any]:
        return {
            "title": f"{metric} {by_what}: mean and SD, {runs}",
            "groupby": None if key is None else wr.Config(key),
            "groupby_aggfunc": "mean",
            "groupby_rangefunc": "stddev",
            "max_runs_to_show": most_runs(report),
        }

    def is_log(metric: str) -> bool:
        return is_ratio(metric) or metric.startswith(_IN_FACTORS)

    bars = [
        wr.BarPlot(metrics=[metric], max_bars_to_show=most_runs(report), **options(f"final {metric}"))
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
    """The key in W&B of a metric whose column in the frames this is."""
    plain = column.removesuffix(" (metric)")
    return metric_key(plain if name_metric_column(report.study, plain) == column else column)

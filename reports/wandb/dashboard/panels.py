"""Which panels show a study: for every factor, for its cells, and for what happens inside the networks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from experiments.study.mechanisms import MECHANISM, is_mechanism, quantity_and_layer
from experiments.study.study import Factor
from reports.analysis.frame import metric_column
from reports.mechanism_maps import LOG, QUANTITIES, is_ratio, scalars_of
from reports.report import Report
from reports.wandb.destination import Place
from reports.wandb.run_content import AGGREGATE, TRAIN, factor_keys, metric_key
from reports.wording.method import VALIDATION

from .model import GROUP, JOB_TYPE, SEED, Key, Plot, Runs, factor_key

EPOCH = "epoch"
STATUS, SECONDS = ("summary", "trial/status"), ("summary", "trial/seconds")
_SPLITS = {"train", "training", "test", *VALIDATION}
_MOST_SCALARS, _MOST_QUANTITIES = 4, 4  # of mechanisms, the latter with three panels each
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
    yield from scalars_of(report)[:_MOST_SCALARS]
    logged = [name for name in map(str, report.curves.columns) if quantity_and_layer(name)]
    for quantity in QUANTITIES[:_MOST_QUANTITIES]:
        layers = [name for name in logged if (quantity_and_layer(name) or ("",))[0] == quantity.name]
        yield from dict.fromkeys(layers[place] for place in (0, len(layers) // 2, -1) if layers)


def key_of(report: Report, factor: Factor) -> Key:
    """Where W&B keeps the levels of a factor of the study."""
    return factor_key(factor_keys(other.name for other in report.study.factors)[factor.name])


def is_averaged_by_level(report: Report) -> bool:
    """Whether a level's runs are those of its contrasts: not where they stand beside other factors' changes."""
    return report.study.design == "full" or len(report.study.factors) == 1


def training_runs(report: Report, place: Place, *, with_tables: bool = False) -> Runs:
    """All trials of the study, grouped by all factors, so that a group is a cell and its runs are the seeds.

    Arguments:
        report: of the study.
        place: where its runs are.
        with_tables: with the run that holds the tables, for a view that has one run set.
    """
    keys = tuple(key_of(report, factor) for factor in report.study.factors)
    metric, goal = metric_key(report.study.metric.name), report.study.metric.goal
    return Runs(
        name="Trials",
        where=((GROUP, (place.group,)), (JOB_TYPE, (TRAIN, AGGREGATE) if with_tables else (TRAIN,))),
        grouping=keys,
        columns=(*keys, SEED, ("summary", metric), STATUS, SECONDS),
        order=(("summary", metric), goal == "min"),
    )


def factor_runs(report: Report, place: Place, factor: Factor) -> Runs:
    """The trials that tell of one factor, grouped by it: all, or those that have every other factor at its reference.

    Arguments:
        report: of the study.
        place: where its runs are.
        factor: one of the study's.
    """
    runs = training_runs(report, place)
    others = tuple(
        (key_of(report, other), (other.reference,)) for other in report.study.factors if other.name != factor.name
    )
    return Runs(
        name=factor.name,
        where=runs.where if is_averaged_by_level(report) else runs.where + others,
        grouping=(key_of(report, factor),),
        columns=runs.columns,
        order=runs.order,
    )


def table_runs(place: Place) -> Runs:
    """The one run that holds the study's tables and its page."""
    return Runs(
        name="Tables",
        where=((GROUP, (place.group,)), (JOB_TYPE, (AGGREGATE,))),
        order=(("run", "createdAt"), False),
    )


def factor_plots(report: Report, factor: Factor, metrics: Iterable[str], *, final: str | None = None) -> list[Plot]:
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
    return _plots(report, f"by {factor.name}", runs, key_of(report, factor), metrics, final)


def mechanism_plots(report: Report, metrics: Iterable[str]) -> list[Plot]:
    """A curve of each metric with a group for each cell, since networks that differ are not averaged."""
    in_factors = {f"{MECHANISM}{quantity.name}/" for quantity in QUANTITIES if quantity.kind == LOG}
    return [
        replace(plot, is_log=is_ratio(plot.metric) or plot.metric.startswith(tuple(in_factors)))
        for plot in cell_plots(report, metrics)
    ]


def cell_plots(report: Report, metrics: Iterable[str], *, final: str | None = None) -> list[Plot]:
    """The same with a group for each cell, so that the band is over seeds alone."""
    runs = f"{len(report.study.seeds)} {report.study.unit}s a cell"
    return _plots(report, "by cell", runs, None, metrics, final)


def _plots(
    report: Report, by_what: str, runs: str, by: Key | None, metrics: Iterable[str], final: str | None
) -> list[Plot]:
    most = min(max(_FEWEST_RUNS, len(report.trials)), _MOST_RUNS)
    bars = [
        Plot(title=f"final {metric} {by_what}: mean and SD, {runs}", metric=metric, over=None, by=by, most_runs=most)
        for metric in ([] if final is None else [final])
    ]
    return bars + [
        Plot(title=f"{metric} {by_what}: mean and SD, {runs}", metric=metric, over=EPOCH, by=by, most_runs=most)
        for metric in metrics
    ]


def _span(counts: Iterable[int]) -> str:
    sizes = sorted(set(counts))
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _metric(report: Report, column: str) -> str:
    """The key in W&B of a metric whose column in the frames this is."""
    plain = column.removesuffix(" (metric)")
    return metric_key(plain if metric_column(report.study, plain) == column else column)

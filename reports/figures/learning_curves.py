"""Learning curves: seeds, their mean with its interval, training and validation, and paired differences by epoch."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.study.study import Factor
from experiments.trials.trial import TrialStatus
from reports.mechanism_maps import is_ratio, list_scalar_metrics
from reports.report import Report
from reports.statistics.paired import mean_interval
from reports.wording.numbers import format_count

from .colours import choose_looks
from .drawing import MUTED, WIDTH, Picture, Sheet, pad_limits, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 8
_MOST_SEEDS = 20  # thin lines in a panel
_MOST_EPOCHS = 120  # points of a line
_COLUMNS, _PANEL, _GAP, _LEFT = 4, 170, 44, 52
_SHOWN = {1: "", 2: "; dashed: training, solid: validation"}
_SPLITS = ("train", "val")  # splits of a metric that are drawn, the first dashed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Metric of one level by epoch.

    epochs, seeds: (E,) and (E, S), for each seed the mean over its trials, NaN if one of them has no value.
    band_epochs, band: (B,) and (B, 3), the mean over all S seeds and its interval, in epochs in which all have values.
    """

    split: str
    epochs: NDArray[np.float64]
    seeds: NDArray[np.float64]
    band_epochs: NDArray[np.float64]
    band: NDArray[np.float64]


def list_curve_kinds(report: Report) -> list[str]:
    """Return the names of metrics by epoch without their split, the metric of the study first.

    For example, `acc` is drawn from train/acc and val/acc if both were logged.
    """
    logged = dict.fromkeys(
        column.partition("/")[2] for column in report.curves.columns if column.partition("/")[0] in _SPLITS
    )
    main = report.study.metric.name.rpartition("/")[2]
    return [kind for kind in dict.fromkeys([main, "loss", *logged]) if kind in logged]


def learning_curves(report: Report, factor: Factor, kind: str) -> Picture | None:
    """Draw a panel for each level of the factor: training and validation curves of `kind` (see `list_curve_kinds`).

    The mean and its interval are over the same trials in every epoch, and end with the first trial of the level.
    """
    metrics = {split: f"{split}/{kind}" for split in _SPLITS if f"{split}/{kind}" in report.curves}
    name = f"curves-{report.study.factors.index(factor)}-{list_curve_kinds(report).index(kind)}"
    return _curves(report, factor, metrics, name, kind, _legend(metrics), may_be_log=kind.endswith("loss"))


def scalar_curves(report: Report, factor: Factor, metric: str) -> Picture | None:
    """Draw a panel for each level of the factor: a metric that belongs to no split, by epoch.

    For a ratio (`is_ratio`) of which all values are positive, mean and interval are those of its logarithm.
    """
    name = f"scalar-{report.study.factors.index(factor)}-{list_scalar_metrics(report).index(metric)}"
    return _curves(
        report, factor, {"": metric}, name, metric, "", may_be_log=is_ratio(metric), may_be_geometric=is_ratio(metric)
    )


def _curves(
    report: Report,
    factor: Factor,
    metrics: dict[str, str],
    name: str,
    kind: str,
    legend: str,
    *,
    may_be_log: bool,
    may_be_geometric: bool = False,
) -> Picture | None:
    """Draw metrics by split.

    Args:
        report: what is drawn.
        factor: the levels of the panels.
        metrics: by split.
        name: of the picture.
        kind: the common name of the metrics.
        legend: of the lines.
        may_be_log: True to use a logarithmic axis for positive values.
        may_be_geometric: True to average the logarithms of positive values.
    """
    study = report.study
    curves = _of_finished(report)
    overlap = 0.0 if study.folds is None else 1 / (study.folds - 1)  # as in Outcomes
    shown = curves[curves[factor.name].isin(factor.level_names[:MOST_PANELS])]
    is_geometric = may_be_geometric and not (shown[list(metrics.values())] <= 0).to_numpy().any()
    lines = {}
    for level in factor.level_names[:MOST_PANELS]:
        part = curves[curves[factor.name] == level]
        lines[level] = [
            line
            for split, metric in metrics.items()
            if (line := _line(part, split, metric, overlap, is_geometric=is_geometric)) is not None
        ]
    if not any(lines.values()):
        return None
    is_log = may_be_log and all(np.nanmin(line.seeds) > 0 for row in lines.values() for line in row)
    diverged = report.trials[report.trials["status"] == TrialStatus.DIVERGED]
    looks = choose_looks(study)
    words = []
    with _panels(list(lines), f"{kind}{', logarithmic' if is_log else ''}{legend}") as (sheet, panels):
        limits = _limits(lines, is_log=is_log)
        for level, (axes, title_position) in zip(lines, panels, strict=True):
            look = looks[factor.name, level]
            if is_log:
                axes.set_yscale("log")
            for line in lines[level]:
                _draw(axes, line, look.colour, is_dashed=len(metrics) > 1 and line.split == "train")
            gone = diverged.loc[diverged[factor.name] == level, "diverged_epoch"].dropna().astype(float)
            if len(gone):
                axes.plot(gone, [0.96] * len(gone), "x", color=look.colour, transform=axes.get_xaxis_transform())
            _finish(axes, limits, is_log=is_log)
            sheet.add_text(*title_position, shorten(level, 160), fontweight="bold", fontsize=11.5)
            lost = f", {format_count(len(gone), 'trial')} diverged" if len(gone) else ""
            words.append(f"{level}: {_describe_ends(lines[level])}{lost}")
        caption = _caption(
            report, factor, metrics, has_diverged=len(diverged) > 0, has_stopped=_has_stopped(curves, factor, lines)
        )
        drawn = [line for row in lines.values() for line in row]
        if any(len(line.band_epochs) < len(line.epochs) for line in drawn) and "stopped early" not in caption:
            caption += " The mean is not drawn in epochs in which a trial has no finite value."
        return sheet.to_picture(
            name=name,
            title=f"{kind} by {factor.name}",
            caption=f"{caption} Means and intervals are those of the logarithm." if is_geometric else caption,
            alt=f"{kind}, mean over {study.unit}s in its last epoch. " + "; ".join(words) + ".",
        )


def paired_curves(report: Report, factor: Factor, metric: str) -> Picture | None:
    """Draw the paired difference of each level to the reference by epoch, with its 95 % interval."""
    study = report.study
    table = report.curve_differences
    table = table[(table["factor"] == factor.name) & (table["metric"] == metric)] if len(table) else table
    levels = [level for level in factor.level_names if (table["level"] == level).any()][:MOST_PANELS]
    if not levels:
        return None
    looks = choose_looks(study)
    rows = {level: _thin(table[table["level"] == level].sort_values("epoch")) for level in levels}
    values = pd.concat(list(rows.values()))[["mean_difference", "ci_low", "ci_high"]].to_numpy(dtype=np.float64)
    low, high = min(float(np.nanmin(values)), 0.0), max(float(np.nanmax(values)), 0.0)
    last = _of_finished(report).groupby("trial_id").agg(level=(factor.name, "first"), epoch=("epoch", "max"))
    has_stopped = len(set(last.loc[last["level"].isin([factor.reference, *levels]), "epoch"])) > 1
    with _panels(levels, f"difference in {metric}") as (sheet, panels):
        for level, (axes, title_position) in zip(levels, panels, strict=True):
            look, part = looks[factor.name, level], rows[level]
            axes.axhline(0, color=MUTED, linewidth=1)
            axes.fill_between(part["epoch"], part["ci_low"], part["ci_high"], color=look.colour, alpha=0.2, linewidth=0)
            axes.plot(part["epoch"], part["mean_difference"], color=look.colour, linewidth=2)
            _finish(axes, pad_limits(low, high), is_log=False)
            title = shorten(f"{level} − {factor.reference}", 140, 11.5)
            sheet.add_text(*title_position, title, fontweight="bold", fontsize=11.5)
        return sheet.to_picture(
            name=f"bands-{study.factors.index(factor)}-{list(dict.fromkeys(report.curve_differences['metric'])).index(metric)}",
            title=f"{metric}: {factor.name} against {factor.reference}, epoch by epoch",
            caption=(
                f"Mean difference, paired by {study.unit}, and its unadjusted 95 % interval in each epoch. A band that "
                f"excludes zero for a few epochs is no evidence of a difference. {_describe_sizes(rows, study.unit)}"
                + (" A band ends when the first of its trials stopped early." if has_stopped else "")
            ),
            alt=f"Difference in {metric} in the last epoch of the band: "
            + "; ".join(
                f"{level} {part['mean_difference'].iloc[-1]:+.3g} "
                f"({part['ci_low'].iloc[-1]:+.3g} to {part['ci_high'].iloc[-1]:+.3g}) "
                f"at epoch {part['epoch'].iloc[-1]:.0f} (n {part['n'].iloc[-1]:.0f})"
                for level, part in rows.items()
            )
            + ".",
        )


def _describe_sizes(rows: dict[str, pd.DataFrame], unit: str) -> str:
    sizes = {level: int(part["n"].iloc[-1]) for level, part in rows.items()}
    if len(set(sizes.values())) == 1:
        return f"All epochs have the same {format_count(next(iter(sizes.values())), unit)}."
    return f"All epochs of a band have the same {unit}s: " + ", ".join(f"{k} n {n}" for k, n in sizes.items()) + "."


@contextmanager
def _panels(names: Sequence[str], axis: str) -> Iterator[tuple[Sheet, list[tuple["Axes", tuple[float, float]]]]]:
    """Open a sheet with a plot for each name, in rows; yield it with the plots and the positions of their titles."""
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    across = min((WIDTH - _LEFT) / columns, 260)
    bottom = 34 + rows * (_PANEL + _GAP)
    with Sheet(bottom + 6, _LEFT + across * columns) as sheet:
        sheet.add_text(0, 10, shorten(axis, 500, 11), color=MUTED, fontsize=11)
        sheet.add_text(_LEFT, bottom - 4, "epoch", color=MUTED, fontsize=11)
        panels: list[tuple[Axes, tuple[float, float]]] = []
        for index in range(len(names)):
            row, column = divmod(index, columns)
            left, top = _LEFT + column * across, 52 + row * (_PANEL + _GAP)
            axes = sheet.add_axes(left, top, across - 22, _PANEL - 18)
            if column:
                axes.tick_params(labelleft=False, which="both")
            panels.append((axes, (left, top - 12)))
        yield sheet, panels


def _line(part: pd.DataFrame, split: str, name: str, overlap: float, *, is_geometric: bool = False) -> _Line | None:
    """Return a metric of one level, with the mean of its logarithm if `is_geometric`; None without any value."""
    table = part.pivot_table(index="epoch", columns=["seed", "trial_id"], values=name).sort_index()
    table = table.where(np.isfinite(table)).dropna(axis="index", how="all").dropna(axis="columns", how="all")
    if table.empty:
        return None
    if is_geometric:
        table = table.apply(np.log10)
    numbers = table.columns.get_level_values("seed")
    columns = [table.to_numpy(dtype=np.float64)[:, numbers == seed].mean(axis=1) for seed in numbers.unique()]
    seeds = pd.DataFrame(np.column_stack(columns), index=table.index)
    drawn, complete = _thin(seeds.dropna(how="all")), _thin(seeds.dropna())
    if drawn.empty:
        return None
    band = np.array([_interval(row, overlap) for row in complete.to_numpy(dtype=np.float64)]).reshape(-1, 3)
    values = drawn.to_numpy(dtype=np.float64)
    return _Line(
        split=split,
        epochs=drawn.index.to_numpy(dtype=np.float64),
        seeds=10**values if is_geometric else values,
        band_epochs=complete.index.to_numpy(dtype=np.float64),
        band=10**band if is_geometric else band,
    )


def _of_finished(report: Report) -> pd.DataFrame:
    finished = report.trials.loc[report.trials["status"] == TrialStatus.FINISHED, "trial_id"]
    return report.curves[report.curves["trial_id"].isin(set(finished))]


def _has_stopped(curves: pd.DataFrame, factor: Factor, levels: Iterable[str]) -> bool:
    """Return True if a trial of one of these levels ended before another trial of the same level."""
    last = curves.groupby("trial_id").agg(level=(factor.name, "first"), epoch=("epoch", "max"))
    return any(len(set(last.loc[last["level"] == level, "epoch"])) > 1 for level in levels)


def _describe_ends(lines: list[_Line]) -> str:
    """Describe the means of a level in their last epochs, with the number of seeds, once if it is the same for all."""
    values = [f"{line.split} {line.band[-1, 0]:.3g}" if len(line.band) else f"{line.split} none" for line in lines]
    values = [value.lstrip() for value in values]  # a metric of no split
    epochs = [
        f" at epoch {line.band_epochs[-1]:.0f} (n {line.seeds.shape[1]})" if len(line.band) else "" for line in lines
    ]
    if len(set(epochs)) == 1:
        return ", ".join(values) + epochs[0]
    return ", ".join(value + epoch for value, epoch in zip(values, epochs, strict=True))


def _interval(values: NDArray[np.float64], overlap: float) -> tuple[float, float, float]:
    found = mean_interval(values, overlap=overlap)
    return found.mean, found.ci_low, found.ci_high


def _thin(table: pd.DataFrame) -> pd.DataFrame:
    """Return evenly spaced rows, at most _MOST_EPOCHS, with the first and the last."""
    if len(table) <= _MOST_EPOCHS:
        return table
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, _MOST_EPOCHS).round().astype(int))]


def _legend(metrics: dict[str, str]) -> str:
    """Return the legend above the panels."""
    if len(metrics) > 1:
        return "; —— validation, – – training"
    return " on the validation split" if "val" in metrics else " on the training split"


def _draw(axes: "Axes", line: _Line, colour: str, *, is_dashed: bool) -> None:
    dashes: dict[str, Any] = {"linestyle": (0, (4, 2))} if is_dashed else {}
    axes.plot(line.epochs, line.seeds[:, :_MOST_SEEDS], color=colour, linewidth=0.7, alpha=0.35, **dashes)
    axes.fill_between(line.band_epochs, line.band[:, 1], line.band[:, 2], color=colour, alpha=0.16, linewidth=0)
    single: dict[str, Any] = {"marker": "o", "markersize": 4} if len(line.band) == 1 else {}
    axes.plot(line.band_epochs, line.band[:, 0], color=colour, linewidth=1.4 if is_dashed else 2.2, **dashes, **single)


def _limits(lines: dict[str, list[_Line]], *, is_log: bool) -> tuple[float, float]:
    """Of all seeds; an interval that is wider is cut, since a band of two seeds would hide everything else."""
    values = np.concatenate([line.seeds.ravel() for row in lines.values() for line in row])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if is_log:
        room = (high / low) ** 0.06 if high > low else 1.1
        return low / room, high * room
    return pad_limits(low, high)


def _finish(axes: "Axes", limits: tuple[float, float], *, is_log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axes.set_ylim(*limits)
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if is_log:
        decades = math.log10(limits[1] / limits[0])
        subs: tuple[float, ...] = (1.0, 2.0, 5.0) if decades < 2 else (1.0,)  # noqa: PLR2004
        if decades < 0.5:  # noqa: PLR2004
            subs = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
        axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12 if decades < 8 else 7))  # noqa: PLR2004
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))


def _caption(report: Report, factor: Factor, metrics: dict[str, str], *, has_diverged: bool, has_stopped: bool) -> str:
    unit = report.study.unit
    is_averaged = len(report.study.factors) > 1
    if len(report.study.seeds) == 1:
        text = f"Each line is {'a mean over the other factors' if is_averaged else 'a trial'}"
        text += f"{_SHOWN[len(metrics)]}. There are no intervals, since there is one {unit}."
    else:
        text = f"Each thin line is a {unit}, the thick line the mean with its 95 % interval{_SHOWN[len(metrics)]}."
        text += " Means are over the other factors too." if is_averaged else ""
    if has_stopped:
        text += " The mean ends when the first trial of a level stopped early."
    text += " Finished trials only. Epochs count from 0. The vertical axis covers the range of the lines."
    if has_diverged:
        text += " A cross marks the epoch in which a trial diverged."
    if len(factor.level_names) > MOST_PANELS:
        text += f" Drawn: the first {MOST_PANELS} of {len(factor.level_names)} levels; curves.csv has all of them."
    return text

"""Learning curves: every seed thin, their mean with its interval, training beside validation; paired differences."""

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

from .colours import looks_of
from .drawing import MUTED, WIDTH, Picture, Sheet, padded_limits, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 8
_MOST_SEEDS = 20  # thin lines in a panel
_MOST_EPOCHS = 120  # points of a line
_COLUMNS, _PANEL, _GAP, _LEFT = 4, 170, 44, 52
_SHOWN = {1: "", 2: "; dashed: training, solid: validation"}
_SPLITS = ("train", "val")  # what is drawn of a metric, the first dashed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A metric of one level by epoch.

    epochs, seeds: (E,) and (E, S), each seed the mean of its trials, NaN where one of them has no value.
    band_epochs, band: (B,) and (B, 3), the mean of all S seeds and its interval, where every one has a value.
    """

    split: str
    epochs: NDArray[np.float64]
    seeds: NDArray[np.float64]
    band_epochs: NDArray[np.float64]
    band: NDArray[np.float64]


def curve_kinds(report: Report) -> list[str]:
    """What can be drawn, the study's own metric first: the part behind the slash of metrics logged by epoch.

    `acc` stands for train/acc and val/acc where both were logged.
    """
    logged = dict.fromkeys(
        column.partition("/")[2] for column in report.curves.columns if column.partition("/")[0] in _SPLITS
    )
    own = report.study.metric.name.rpartition("/")[2]
    return [kind for kind in dict.fromkeys([own, "loss", *logged]) if kind in logged]


def learning_curves(report: Report, factor: Factor, kind: str) -> Picture | None:
    """One panel a level of the factor: `kind` (as in `curve_kinds`) on training and validation data, by epoch.

    The mean and its interval are of the same trials at every epoch: they end where the first trial of the level does.
    """
    metrics = {split: f"{split}/{kind}" for split in _SPLITS if f"{split}/{kind}" in report.curves}
    name = f"curves-{report.study.factors.index(factor)}-{curve_kinds(report).index(kind)}"
    return _curves(report, factor, metrics, name, kind, _key(metrics), may_be_log=kind.endswith("loss"))


def scalar_curves(report: Report, factor: Factor, metric: str) -> Picture | None:
    """One panel a level of the factor: a metric that is of no split, by epoch.

    Where factors of it count (`is_ratio`) and all values are positive, mean and interval are those of its logarithm.
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
    key: str,
    *,
    may_be_log: bool,
    may_be_geometric: bool = False,
) -> Picture | None:
    """The figure of metrics by split; `kind`: what they are called together, `key`: what the reader is told of them."""
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
    looks = looks_of(study)
    words = []
    with _panels(list(lines), f"{kind}{', logarithmic' if is_log else ''}{key}") as (sheet, panels):
        limits = _limits(lines, is_log=is_log)
        for level, (axes, place) in zip(lines, panels, strict=True):
            look = looks[factor.name, level]
            if is_log:
                axes.set_yscale("log")
            for line in lines[level]:
                _draw(axes, line, look.colour, is_dashed=len(metrics) > 1 and line.split == "train")
            gone = diverged.loc[diverged[factor.name] == level, "diverged_epoch"].dropna().astype(float)
            if len(gone):
                axes.plot(gone, [0.96] * len(gone), "x", color=look.colour, transform=axes.get_xaxis_transform())
            _finish(axes, limits, is_log=is_log)
            sheet.text(*place, shortened(level, 160), fontweight="bold", fontsize=11.5)
            lost = f", {format_count(len(gone), 'trial')} diverged" if len(gone) else ""
            words.append(f"{level}: {_ends(lines[level])}{lost}")
        caption = _caption(
            report, factor, metrics, has_diverged=len(diverged) > 0, has_stopped=_has_stopped(curves, factor, lines)
        )
        drawn = [line for row in lines.values() for line in row]
        if any(len(line.band_epochs) < len(line.epochs) for line in drawn) and "ends where the first" not in caption:
            caption += " There is no mean where a trial has no finite value."
        return sheet.picture(
            name=name,
            title=f"{kind} by {factor.name}",
            caption=f"{caption} Means and intervals are of the logarithm." if is_geometric else caption,
            alt=f"{kind} at the last epoch of the mean over {study.unit}s. " + "; ".join(words) + ".",
        )


def paired_bands(report: Report, factor: Factor, metric: str) -> Picture | None:
    """The paired difference of each level to the reference at every epoch, with its 95 % interval."""
    study = report.study
    table = report.curve_differences
    table = table[(table["factor"] == factor.name) & (table["metric"] == metric)] if len(table) else table
    levels = [level for level in factor.level_names if (table["level"] == level).any()][:MOST_PANELS]
    if not levels:
        return None
    looks = looks_of(study)
    rows = {level: _thinned(table[table["level"] == level].sort_values("epoch")) for level in levels}
    values = pd.concat(list(rows.values()))[["mean_difference", "ci_low", "ci_high"]].to_numpy(dtype=np.float64)
    low, high = min(float(np.nanmin(values)), 0.0), max(float(np.nanmax(values)), 0.0)
    last = _of_finished(report).groupby("trial_id").agg(level=(factor.name, "first"), epoch=("epoch", "max"))
    has_stopped = len(set(last.loc[last["level"].isin([factor.reference, *levels]), "epoch"])) > 1
    with _panels(levels, f"difference in {metric}") as (sheet, panels):
        for level, (axes, place) in zip(levels, panels, strict=True):
            look, part = looks[factor.name, level], rows[level]
            axes.axhline(0, color=MUTED, linewidth=1)
            axes.fill_between(part["epoch"], part["ci_low"], part["ci_high"], color=look.colour, alpha=0.2, linewidth=0)
            axes.plot(part["epoch"], part["mean_difference"], color=look.colour, linewidth=2)
            _finish(axes, padded_limits(low, high), is_log=False)
            sheet.text(*place, shortened(f"{level} − {factor.reference}", 140, 11.5), fontweight="bold", fontsize=11.5)
        return sheet.picture(
            name=f"bands-{study.factors.index(factor)}-{list(dict.fromkeys(report.curve_differences['metric'])).index(metric)}",
            title=f"{metric}: {factor.name} against {factor.reference}, epoch by epoch",
            caption=(
                f"Mean difference within each {study.unit} and its 95 % interval at every epoch, each by itself: "
                f"where a band leaves zero for a few epochs, nothing is shown. {_of_how_many(rows, study.unit)}"
                + (" A band ends where the first of its trials stopped early." if has_stopped else "")
            ),
            alt=f"Difference in {metric} at the last epoch of the band: "
            + "; ".join(
                f"{level} {part['mean_difference'].iloc[-1]:+.3g} "
                f"({part['ci_low'].iloc[-1]:+.3g} to {part['ci_high'].iloc[-1]:+.3g}) "
                f"at epoch {part['epoch'].iloc[-1]:.0f} (n {part['n'].iloc[-1]:.0f})"
                for level, part in rows.items()
            )
            + ".",
        )


def _of_how_many(rows: dict[str, pd.DataFrame], unit: str) -> str:
    sizes = {level: int(part["n"].iloc[-1]) for level, part in rows.items()}
    if len(set(sizes.values())) == 1:
        return f"Every epoch is of the same {format_count(next(iter(sizes.values())), unit)}."
    return f"Every epoch of a band is of the same {unit}s: " + ", ".join(f"{k} n {n}" for k, n in sizes.items()) + "."


@contextmanager
def _panels(names: Sequence[str], axis: str) -> Iterator[tuple[Sheet, list[tuple["Axes", tuple[float, float]]]]]:
    """Open a sheet with a plot for each name, in rows; yield it with the plots and the positions of their titles."""
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    across = min((WIDTH - _LEFT) / columns, 260)
    bottom = 34 + rows * (_PANEL + _GAP)
    with Sheet(bottom + 6, _LEFT + across * columns) as sheet:
        sheet.text(0, 10, shortened(axis, 500, 11), color=MUTED, fontsize=11)
        sheet.text(_LEFT, bottom - 4, "epoch", color=MUTED, fontsize=11)
        panels: list[tuple[Axes, tuple[float, float]]] = []
        for index in range(len(names)):
            row, column = divmod(index, columns)
            left, top = _LEFT + column * across, 52 + row * (_PANEL + _GAP)
            axes = sheet.axes(left, top, across - 22, _PANEL - 18)
            if column:
                axes.tick_params(labelleft=False, which="both")
            panels.append((axes, (left, top - 12)))
        yield sheet, panels


def _line(part: pd.DataFrame, split: str, name: str, overlap: float, *, is_geometric: bool = False) -> _Line | None:
    """A metric of one level, None where there is nothing; `is_geometric`: means and intervals are of its logarithm."""
    table = part.pivot_table(index="epoch", columns=["seed", "trial_id"], values=name).sort_index()
    table = table.where(np.isfinite(table)).dropna(axis="index", how="all").dropna(axis="columns", how="all")
    if table.empty:
        return None
    if is_geometric:
        table = table.apply(np.log10)
    numbers = table.columns.get_level_values("seed")
    columns = [table.to_numpy(dtype=np.float64)[:, numbers == seed].mean(axis=1) for seed in numbers.unique()]
    seeds = pd.DataFrame(np.column_stack(columns), index=table.index)
    drawn, complete = _thinned(seeds.dropna(how="all")), _thinned(seeds.dropna())
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
    """Whether a trial of one of these levels ended before another of the same level."""
    last = curves.groupby("trial_id").agg(level=(factor.name, "first"), epoch=("epoch", "max"))
    return any(len(set(last.loc[last["level"] == level, "epoch"])) > 1 for level in levels)


def _ends(lines: list[_Line]) -> str:
    """The means of a level at their last epochs, and of how many seeds they are; said once where they are alike."""
    values = [f"{line.split} {line.band[-1, 0]:.3g}" if len(line.band) else f"{line.split} none" for line in lines]
    values = [value.lstrip() for value in values]  # a metric of no split
    places = [
        f" at epoch {line.band_epochs[-1]:.0f} (n {line.seeds.shape[1]})" if len(line.band) else "" for line in lines
    ]
    if len(set(places)) == 1:
        return ", ".join(values) + places[0]
    return ", ".join(value + place for value, place in zip(values, places, strict=True))


def _interval(values: NDArray[np.float64], overlap: float) -> tuple[float, float, float]:
    found = mean_interval(values, overlap=overlap)
    return found.mean, found.ci_low, found.ci_high


def _thinned(table: pd.DataFrame) -> pd.DataFrame:
    """So many rows at most, evenly spaced, with the first and the last."""
    if len(table) <= _MOST_EPOCHS:
        return table
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, _MOST_EPOCHS).round().astype(int))]


def _key(metrics: dict[str, str]) -> str:
    """Which line is which, said above the panels."""
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
    return padded_limits(low, high)


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
        text = f"A line is {'a mean over the other factors' if is_averaged else 'one training'}"
        text += f"{_SHOWN[len(metrics)]}; there is no interval from one {unit}."
    else:
        text = f"Thin lines are {unit}s, the thick one their mean with a 95 % interval{_SHOWN[len(metrics)]}."
        text += " Other factors are averaged over." if is_averaged else ""
    if has_stopped:
        text += " The mean ends where the first trial of a level stopped early."
    text += " Finished trials only; epochs count from 0; the vertical axis ends where the lines do."
    if has_diverged:
        text += " A cross marks the epoch in which a trial diverged."
    if len(factor.level_names) > MOST_PANELS:
        text += f" The first {MOST_PANELS} of {len(factor.level_names)} levels are drawn; curves.csv has all."
    return text

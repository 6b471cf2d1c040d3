"""Mechanisms of many trials, measured in one pass over a probe: what the callback does for one, with a trial axis.

R rows of L trials, T = R * L, B examples. The module's own training step runs under vmap as in training, on copies of
the stacked parameters and buffers; what layers put out is caught where all trials lie in one tensor, so that one call
of autograd has the gradients of all.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from experiments.fusing.layers.known_layers import overheard
from experiments.mechanisms.activation_drift import Drift
from experiments.mechanisms.generalisation_gap import gaps
from experiments.mechanisms.layer_outputs import (
    Recorder,
    hooked,
    in_flow,
    kind_of,
    watched,
    weights_of,
    without_dropout,
)
from experiments.mechanisms.measure import gradients_of, update_ratios
from experiments.mechanisms.probe import GAP_BATCH, num_of_gap, num_wanted, rebatched, size_of
from experiments.mechanisms.probe_metrics import Seen, metrics_of
from experiments.study.mechanisms import Options
from experiments.training.epoch_metrics import Metrics, compute_epoch_metrics
from experiments.training.step_harness import default_dtype

from .means import Means
from .nested_tensors import mapped, stacked
from .step import StackedModels

RowsAtOnce = Callable[[int], int]
"""From the number of examples in a batch to that of rows that the memory holds at once."""


class Probing:
    """Measures the trials of a group once an epoch.

    Arguments:
        options: what is measured, on how many examples.
        together: the trials.
        models: (T,), each trial's own.
        batches: the first of the first epoch, tensors (R, B, ...), as many as have `num_examples_of(options)`.
        rows_at_once: see there.
    """

    def __init__(
        self,
        options: Options,
        together: StackedModels,
        models: Sequence[LightningModule],
        batches: Sequence[Any],
        rows_at_once: RowsAtOnce,
    ) -> None:
        self._measure = options.measure
        self._stacked, self._models, self._rows_at_once = together, models, rows_at_once
        self._probe = _rebatched(batches, options.examples, options.examples)[0]
        self._first = list(batches) if "gap" in self._measure else []
        self._sample: list[Any] = []  # of them, batches that are compared with validation
        self._owners = weights_of(together.template)
        self._kinds: dict[str, list[str | None]] = {}  # name of a module -> its kind in each trial (T,)
        self._drifts = [Drift() for _ in models]
        self._before: dict[str, Tensor] = {}
        self._updates: dict[str, Tensor] = {}

    def before_last_step(self) -> None:
        """Keep the weights before the epoch's last step."""
        if "updates" in self._measure:
            self._before = {name: values.detach().clone() for name, values in self._weights().items()}

    def after_last_step(self) -> None:
        """Compare the weights with those before."""
        self._updates = update_ratios(self._before, self._weights())
        self._before = {}

    def metrics(
        self, validation: Sequence[Mapping[str, float]] | None, num_validated: int, dtype: torch.dtype
    ) -> list[Metrics]:
        """The metrics of every trial, at the end of an epoch.

        Arguments:
            validation: (T,), what the epoch's validation measured; None where there was none.
            num_validated: on how many examples.
            dtype: what new tensors are.
        """
        found: list[Metrics] = [{} for _ in self._models]
        if {*self._measure} - {"gap"}:
            told = self._probed()
            found = [metrics | drift.of(metrics) for metrics, drift in zip(told, self._drifts, strict=True)]
        if self._first and validation is not None:
            if not self._sample:
                self._sample = _rebatched(self._first, GAP_BATCH, num_of_gap(num_validated))
            of_gap = [gaps(*pair) for pair in zip(self._evaluated(dtype), validation, strict=True)]
            found = [metrics | own for metrics, own in zip(found, of_gap, strict=True)]
        return found

    def _weights(self) -> dict[str, Tensor]:
        return {name: values for name, values in self._stacked.parameters.items() if name in self._owners}

    def _probed(self) -> list[Metrics]:
        found: list[Metrics] = []
        modules = watched(self._stacked.template)
        rows = self._rows_at_once(size_of(mapped(itemgetter(0), self._probe)))
        with self._stacked.on_copies():
            without_dropout(self._stacked.template)
            for of_rows in self._stacked.parts(self._probe, rows):
                found += self._of_rows(of_rows, modules)
        return found

    def _of_rows(self, batch: Any, modules: Mapping[str, nn.Module]) -> list[Metrics]:
        """Of the trials in the rows at work."""
        together = self._stacked
        rows, columns = together.shape
        cut = slice(together.first_row * columns, (together.first_row + rows) * columns)
        recorder = Recorder(modules)
        recorded: dict[str, list[Tensor]] = {}

        def listen(name: str, x: Tensor) -> Tensor:
            if name not in modules or not x.is_floating_point():
                return x
            x = x.expand(rows, columns, *x.shape[2:])
            recorded.setdefault(name, []).append(x)
            recorder.add(name, x.detach().flatten(0, 1))
            return x

        has_gradients = "gradients" in self._measure
        hooks = hooked(modules, partial(_overheard, together))
        with torch.set_grad_enabled(has_gradients), together.listening(listen), hooks:
            loss, _ = together.train_step(batch, 0)
        weights = self._weights()
        of_weights: dict[str, Tensor] = {}
        of_outputs: dict[str, list[Tensor]] = {}
        if has_gradients:
            of_weights, of_outputs = gradients_of(loss.sum(), weights, recorded)
        seen = Seen(
            order=in_flow(together.template, recorder.outputs),
            weights={name: values.detach()[cut] for name, values in weights.items()},
            owners=self._owners,
            outputs=recorder.outputs,
            kinds={name: self._kinds_of(name)[cut] for name in recorder.outputs},
            num_examples=size_of(mapped(itemgetter(0), batch)),
            weight_gradients={name: values[cut] for name, values in of_weights.items()},
            output_gradients={name: [each.flatten(0, 1) for each in calls] for name, calls in of_outputs.items()},
            updates={name: values[cut] for name, values in self._updates.items()},
        )
        return metrics_of(seen, self._measure)

    def _kinds_of(self, name: str) -> list[str | None]:
        if name not in self._kinds:
            self._kinds[name] = [kind_of(_part(model, name)) for model in self._models]
        return self._kinds[name]

    def _evaluated(self, dtype: torch.dtype) -> list[Mapping[str, float]]:
        """What the validation step of each trial logs on examples of training."""
        means = Means(len(self._models))
        outputs: list[Mapping[str, Tensor]] = []
        for number, batch in enumerate(self._sample):
            rows = self._rows_at_once(size_of(mapped(itemgetter(0), batch)))
            evaluated = self._stacked.eval_step("validation_step", batch, number, rows)
            means.add(evaluated.logged)
            outputs.append(evaluated.outputs)
        for place, model in enumerate(self._models):
            whole = {name: torch.cat([of_batch[name][place] for of_batch in outputs]) for name in outputs[0]}
            with default_dtype(dtype):
                means.add_epoch(place, compute_epoch_metrics(model, "val", whole))
        return [seen.recorded for seen in means.of_trials()]


def num_examples_of(options: Options) -> int:
    """How many examples of training are kept."""
    return num_wanted(options.examples, with_gap="gap" in options.measure)


def _rebatched(batches: Sequence[Any], size: int, most: int) -> list[Any]:
    """As for one trial, row by row: tensors (R, size, ...)."""
    num_rows = size_of(batches[0])
    of_rows = [
        rebatched([mapped(partial(torch.select, dim=0, index=row), batch) for batch in batches], size, most)
        for row in range(num_rows)
    ]
    return [stacked(parts) for parts in zip(*of_rows, strict=True)]


def _overheard(together: StackedModels, name: str, output: Tensor) -> Tensor:
    return overheard(output, name, together)


def _part(model: nn.Module, name: str) -> nn.Module | None:
    """None for a model that has no such part, as one without dropout."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None

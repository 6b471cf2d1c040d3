"""Mechanisms of the trials of a group, measured in one pass over a probe: the callback's measurements for many trials.

R rows of L trials, T = R * L, B examples. The module's own training step runs under vmap as in training, on copies of
the stacked parameters and buffers. Outputs of layers are captured outside vmap, where all trials share one tensor, so
that one call of autograd returns the gradients of all.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from experiments.fusing.layers.known_layers import capture_output
from experiments.fusing.reading.nested_tensors import select_row, stack_batches
from experiments.mechanisms.activation_drift import Drift
from experiments.mechanisms.generalisation_gap import compute_gaps
from experiments.mechanisms.layer_outputs import (
    OutputRecorder,
    classify_layer,
    disable_dropout,
    find_layers,
    find_weights,
    hook_outputs,
    order_by_data_flow,
)
from experiments.mechanisms.measure import compute_gradients, compute_update_ratios
from experiments.mechanisms.probe import GAP_BATCH, choose_gap_size, count_examples, count_examples_wanted, rebatch
from experiments.mechanisms.probe_metrics import ProbePass, compute_metrics
from experiments.study.mechanisms import MechanismsOptions
from experiments.training.epoch_metrics import Metrics, compute_epoch_metrics
from experiments.training.step_harness import default_dtype

from .logged_metrics import LoggedMetrics
from .step import StackedModels

RowsAtOnce = Callable[[int], int]
"""Function from the number of examples in a batch to the number of rows that fit into memory."""


class FusedMechanisms:
    """Measurement of the trials of a group once an epoch.

    Args:
        options: quantities and number of examples.
        stacked: the trials.
        models: (T,), of each trial.
        batches: the first of the first epoch, tensors (R, B, ...), with `count_examples_to_keep(options)` examples.
        rows_at_once: see there.
    """

    def __init__(
        self,
        options: MechanismsOptions,
        stacked: StackedModels,
        models: Sequence[LightningModule],
        batches: Sequence[Any],
        rows_at_once: RowsAtOnce,
    ) -> None:
        self._measure = options.measure
        self._stacked, self._models, self._rows_at_once = stacked, models, rows_at_once
        self._probe = _rebatch_rows(batches, options.examples, options.examples)[0]
        self._first_batches = list(batches) if "gap" in self._measure else []
        self._gap_batches: list[Any] = []  # taken from them to be compared with validation
        self._owners = find_weights(stacked.template)
        self._kinds: dict[str, list[str | None]] = {}  # name of a module -> its kind in each trial (T,)
        self._drifts = [Drift() for _ in models]
        self._weights_before: dict[str, Tensor] = {}
        self._updates: dict[str, Tensor] = {}

    def before_last_step(self) -> None:
        """Keep the weights before the epoch's last step."""
        if "updates" in self._measure:
            self._weights_before = {name: values.detach().clone() for name, values in self._get_weights().items()}

    def after_last_step(self) -> None:
        """Compare the weights with those before the step."""
        self._updates = compute_update_ratios(self._weights_before, self._get_weights())
        self._weights_before = {}

    def compute_metrics(
        self, validation: Sequence[Mapping[str, float]] | None, num_validated: int, dtype: torch.dtype
    ) -> list[Metrics]:
        """Compute the metrics of every trial (T,) at the end of an epoch.

        Args:
            validation: (T,), metrics of the epoch's validation; None if there was none.
            num_validated: number of its examples.
            dtype: of new tensors.
        """
        metrics: list[Metrics] = [{} for _ in self._models]
        if {*self._measure} - {"gap"}:
            probed = self._measure_probe()
            metrics = [found | drift.update(found) for found, drift in zip(probed, self._drifts, strict=True)]
        if self._first_batches and validation is not None:
            if not self._gap_batches:
                self._gap_batches = _rebatch_rows(self._first_batches, GAP_BATCH, choose_gap_size(num_validated))
            gaps = [compute_gaps(*pair) for pair in zip(self._evaluate_gap_batches(dtype), validation, strict=True)]
            metrics = [found | gap for found, gap in zip(metrics, gaps, strict=True)]
        return metrics

    def _get_weights(self) -> dict[str, Tensor]:
        return {name: values for name, values in self._stacked.parameters.items() if name in self._owners}

    def _measure_probe(self) -> list[Metrics]:
        metrics: list[Metrics] = []
        modules = find_layers(self._stacked.template)
        rows_at_once = self._rows_at_once(count_examples(select_row(self._probe, 0)))
        with self._stacked.on_copies():
            disable_dropout(self._stacked.template)
            for batch in self._stacked.split_rows(self._probe, rows_at_once):
                metrics += self._measure_rows(batch, modules)
        return metrics

    def _measure_rows(self, batch: Any, modules: Mapping[str, nn.Module]) -> list[Metrics]:
        """Measure the trials in the rows that `split_rows` selected."""
        stacked = self._stacked
        rows, columns = stacked.shape
        trials = slice(stacked.first_row * columns, (stacked.first_row + rows) * columns)
        recorder = OutputRecorder(modules)
        outputs: dict[str, list[Tensor]] = {}

        def record(name: str, x: Tensor) -> Tensor:
            if name not in modules or not x.is_floating_point():
                return x
            x = x.expand(rows, columns, *x.shape[2:])
            outputs.setdefault(name, []).append(x)
            recorder.add(name, x.detach().flatten(0, 1))
            return x

        has_gradients = "gradients" in self._measure
        hooks = hook_outputs(modules, partial(capture_output, stacked))
        with torch.set_grad_enabled(has_gradients), stacked.hooking_outputs(record), hooks:
            loss, _ = stacked.train_step(batch, 0)
        weights = self._get_weights()
        weight_gradients: dict[str, Tensor] = {}
        output_gradients: dict[str, list[Tensor]] = {}
        if has_gradients:
            weight_gradients, output_gradients = compute_gradients(loss.sum(), weights, outputs)
        probe_pass = ProbePass(
            order=order_by_data_flow(stacked.template, recorder.outputs),
            weights={name: values.detach()[trials] for name, values in weights.items()},
            owners=self._owners,
            outputs=recorder.outputs,
            kinds={name: self._classify(name)[trials] for name in recorder.outputs},
            num_examples=count_examples(select_row(batch, 0)),
            weight_gradients={name: values[trials] for name, values in weight_gradients.items()},
            output_gradients={name: [call.flatten(0, 1) for call in calls] for name, calls in output_gradients.items()},
            updates={name: values[trials] for name, values in self._updates.items()},
        )
        return compute_metrics(probe_pass, self._measure)

    def _classify(self, name: str) -> list[str | None]:
        """Return the kind of a module in each trial (T,)."""
        if name not in self._kinds:
            self._kinds[name] = [classify_layer(_find_module(model, name)) for model in self._models]
        return self._kinds[name]

    def _evaluate_gap_batches(self, dtype: torch.dtype) -> list[Mapping[str, float]]:
        """Return the metrics of each trial's validation step on training examples (T,)."""
        logged = LoggedMetrics(len(self._models))
        outputs: list[Mapping[str, Tensor]] = []
        for number, batch in enumerate(self._gap_batches):
            rows_at_once = self._rows_at_once(count_examples(select_row(batch, 0)))
            results = self._stacked.eval_step("validation_step", batch, number, rows_at_once)
            logged.add(results.logged)
            outputs.append(results.outputs)
        for index, model in enumerate(self._models):
            whole = {name: torch.cat([of_batch[name][index] for of_batch in outputs]) for name in outputs[0]}
            with default_dtype(dtype):
                logged.add_epoch_metrics(index, compute_epoch_metrics(model, "val", whole))
        return [metrics.for_loggers for metrics in logged.split_by_trial()]


def count_examples_to_keep(options: MechanismsOptions) -> int:
    """Return how many training examples are kept for the measurements."""
    return count_examples_wanted(options.examples, with_gap="gap" in options.measure)


def _rebatch_rows(batches: Sequence[Any], size: int, max_examples: int) -> list[Any]:
    """Form new batches row by row, tensors (R, size, ...)."""
    num_rows = count_examples(batches[0])
    by_row = [rebatch([select_row(batch, row) for batch in batches], size, max_examples) for row in range(num_rows)]
    return [stack_batches(parts) for parts in zip(*by_row, strict=True)]


def _find_module(model: nn.Module, name: str) -> nn.Module | None:
    """Return a submodule; None if a model does not have it, such as one without dropout."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None

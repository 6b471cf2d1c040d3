"""Metrics of one pass over the probe: by quantity, and within a quantity in the order of the data flow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from experiments.training.epoch_metrics import Metrics

from .layer_outputs import Output, join_calls, shorten_names
from .quantities import BOUNDS, QUANTILES, dead, moments, norm, quantiles, rms, saturated


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePass:
    """One pass of T trials over the probe, at the end of an epoch.

    order: names of modules in the order of the data flow.
    weights: name of a parameter -> (T, *shape); weight_gradients: of the mean loss, for trained parameters.
    owners: name of a parameter -> name of its module.
    outputs: name of a module -> its outputs; output_gradients: of the mean loss, one tensor for each call.
    kinds: name of a module -> its kind in each trial (T,); see `classify_layer`.
    updates: name of a parameter -> (T,), the update ratio of the epoch's last step.
    num_examples: B.
    """

    order: Sequence[str]
    weights: Mapping[str, Tensor]
    owners: Mapping[str, str]
    outputs: Mapping[str, Output]
    kinds: Mapping[str, Sequence[str | None]]
    num_examples: int
    weight_gradients: Mapping[str, Tensor] = field(default_factory=dict)
    output_gradients: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    updates: Mapping[str, Tensor] = field(default_factory=dict)


def compute_metrics(probe_pass: ProbePass, measure: Iterable[str]) -> list[Metrics]:
    """Compute the metrics of each trial; a trial has none for a layer that it lacks, or has of another kind."""
    computer = _MetricComputer(probe_pass)
    computer.compute({*measure})
    return computer.table.split_by_trial()


class _MetricTable:
    """Metrics of T trials, on the device until all of them are computed."""

    def __init__(self, num_trials: int) -> None:
        self._num_trials = num_trials
        self._names: list[tuple[str, Sequence[int]]] = []
        self._values: list[Tensor] = []

    def add(self, name: str, values: Tensor, trials: Sequence[int] | None = None) -> None:
        """Add a metric of some trials. values: (n,); trials: n indices, all if None."""
        self._names.append((name, range(self._num_trials) if trials is None else trials))
        self._values.append(values.detach().double() if values.device.type != "mps" else values.detach())

    def split_by_trial(self) -> list[Metrics]:
        metrics: list[Metrics] = [{} for _ in range(self._num_trials)]
        values = iter(torch.cat(self._values).tolist() if self._values else [])
        for name, trials in self._names:
            for trial in trials:
                metrics[trial][f"mechanism/{name}"] = next(values)
        return metrics


class _MetricComputer:
    """Computation of all quantities of one pass."""

    def __init__(self, probe_pass: ProbePass) -> None:
        self.table = _MetricTable(len(next(iter(probe_pass.weights.values()))))
        self._pass = probe_pass
        order = probe_pass.order
        self._weights = sorted(probe_pass.weights, key=lambda name: order.index(probe_pass.owners[name]))
        outputs = [name for name in order if name in probe_pass.outputs]
        self._names = shorten_names(outputs) | shorten_names(self._weights)
        self._outputs = {name: join_calls(probe_pass.outputs[name]) for name in outputs}
        self._flat = {name: values.flatten(1) for name, (values, _) in self._outputs.items()}  # (T, N), flattened once

    def compute(self, measure: set[str]) -> None:
        if "gradients" in measure:
            self._add_gradients()
        if "activations" in measure:
            self._add_activations()
        if "saturation" in measure:
            self._add_saturation()
        if "dead" in measure:
            self._add_dead()
        if "updates" in measure:
            for name in self._weights:
                if name in self._pass.updates:
                    self.table.add(f"update_ratio/{self._names[name]}", self._pass.updates[name])
        if "weights" in measure:
            for name in self._weights:
                self.table.add(f"weight_norm/{self._names[name]}", norm(self._pass.weights[name]))

    def _add_gradients(self) -> None:
        probe_pass = self._pass
        by_weight = {
            name: rms(probe_pass.weight_gradients[name])
            for name in self._weights
            if name in probe_pass.weight_gradients
        }
        by_output = {
            name: rms(_flatten_calls(probe_pass.output_gradients[name])) * probe_pass.num_examples
            for name in self._outputs
            if name in probe_pass.output_gradients
        }
        for name, values in by_weight.items():
            self.table.add(f"weight_gradient/{self._names[name]}", values)
        for name, values in by_output.items():
            self._add(f"activation_gradient/{self._names[name]}", values, self._find_trials(name))
        # Of layers with weights, which all trials of a fused group have.
        layers = [values for name, values in by_output.items() if "layer" in probe_pass.kinds[name]]
        weights = [values for name, values in by_weight.items() if self._has_known_position(name)]
        for name, gradients in (("weight", weights or [*by_weight.values()]), ("activation", layers)):
            if len(gradients) > 1:  # a layer is not compared with itself
                self.table.add(f"{name}_gradient_ratio", gradients[0] / gradients[-1])

    def _has_known_position(self, weight: str) -> bool:
        """Return whether the position of a weight in the data flow is known.

        It is not if the weight's module contains layers, such as a network with a parameter of its own, which may be
        used before, between or after them.
        """
        owner = self._pass.owners[weight]
        prefix = f"{owner}." if owner else ""
        return not any(other != owner and other.startswith(prefix) for other in self._pass.owners.values())

    def _add_activations(self) -> None:
        by_layer = {name: (*moments(values), quantiles(values)) for name, values in self._flat.items()}
        for number, statistic in enumerate(("mean", "std")):
            for name, statistics in by_layer.items():
                self._add(f"activation_{statistic}/{self._names[name]}", statistics[number], self._find_trials(name))
        for number, quantile in enumerate(QUANTILES):
            for name, statistics in by_layer.items():
                self._add(f"activation_{quantile}/{self._names[name]}", statistics[2][number], self._find_trials(name))

    def _add_saturation(self) -> None:
        for name, values in self._flat.items():
            for kind, bounds in BOUNDS.items():
                if trials := self._find_trials(name, kind):
                    self.table.add(f"saturated/{self._names[name]}", saturated(_select(values, trials), bounds), trials)

    def _add_dead(self) -> None:
        for name, (values, unit_dim) in self._outputs.items():
            if trials := self._find_trials(name, "rectifier"):
                self.table.add(f"dead/{self._names[name]}", dead(_select(values, trials), unit_dim), trials)

    def _find_trials(self, name: str, kind: str | None = None) -> list[int]:
        """Return the indices of the trials in which a module is measured, or is of a kind."""
        kinds = self._pass.kinds[name]
        return [trial for trial, found in enumerate(kinds) if found is not None and kind in {None, found}]

    def _add(self, name: str, values: Tensor, trials: Sequence[int]) -> None:
        """Add a metric. values: (T,), those of other trials are dropped."""
        self.table.add(name, _select(values, trials), trials)


def _flatten_calls(calls: Sequence[Tensor]) -> Tensor:
    return calls[0] if len(calls) == 1 else torch.cat([call.flatten(1) for call in calls], dim=1)


def _select(values: Tensor, trials: Sequence[int]) -> Tensor:
    return values if len(trials) == len(values) else values[list(trials)]

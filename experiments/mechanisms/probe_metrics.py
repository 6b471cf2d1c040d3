"""What trials showed on the probe, as the metrics that are told of it: by quantity, and within one as data flow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from experiments.training.epoch_metrics import Metrics

from .layer_outputs import Output, joined_calls, shown
from .quantities import BOUNDS, QUANTILES, dead, moments, norm, quantiles, ratio, rms, saturated


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One pass of T trials over the probe, at the end of an epoch.

    order: the names of modules as data flow through them.
    weights: name of a parameter -> (T, *shape); weight_gradients: of the mean loss, for those that are trained.
    owners: name of a parameter -> name of its module.
    outputs: name of a module -> what it put out; output_gradients: of the mean loss, a tensor a call.
    kinds: name of a module -> its kind in each trial (T,); see `layers.kind_of`.
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


def metrics_of(seen: Seen, measure: Iterable[str]) -> list[Metrics]:
    """The metrics of each trial; a layer that a trial does not have, or has not of that kind, has none."""
    found = _Found(len(next(iter(seen.weights.values()))))
    weights = sorted(seen.weights, key=lambda name: seen.order.index(seen.owners[name]))
    outputs = [name for name in seen.order if name in seen.outputs]
    _Teller(seen, found, weights, outputs).tell({*measure})
    return found.of_trials()


class _Found:
    """Metrics of T trials as they are found, on the device until all are there."""

    def __init__(self, num_trials: int) -> None:
        self.num_trials = num_trials
        self._names: list[tuple[str, Sequence[int]]] = []
        self._values: list[Tensor] = []

    def add(self, name: str, values: Tensor, places: Sequence[int] | None = None) -> None:
        """values: (n,), of the trials at these places; of all where there are none given."""
        self._names.append((name, range(self.num_trials) if places is None else places))
        self._values.append(values.detach().double() if values.device.type != "mps" else values.detach())

    def of_trials(self) -> list[Metrics]:
        metrics: list[Metrics] = [{} for _ in range(self.num_trials)]
        values = iter(torch.cat(self._values).tolist() if self._values else [])
        for name, places in self._names:
            for place in places:
                metrics[place][f"mechanism/{name}"] = next(values)
        return metrics


class _Teller:
    """Goes through the quantities."""

    def __init__(self, seen: Seen, found: _Found, weights: Sequence[str], outputs: Sequence[str]) -> None:
        self._seen, self._found, self._weights = seen, found, weights
        self._names = shown(outputs) | shown(weights)
        self._outputs = {name: joined_calls(seen.outputs[name]) for name in outputs}
        self._flat = {
            name: values.flatten(1) for name, (values, _) in self._outputs.items()
        }  # (T, N), put in order once

    def tell(self, measure: set[str]) -> None:
        if "gradients" in measure:
            self._gradients()
        if "activations" in measure:
            self._activations()
        if "saturation" in measure:
            self._saturation()
        if "dead" in measure:
            self._dead()
        if "updates" in measure:
            for name in self._weights:
                if name in self._seen.updates:
                    self._found.add(f"update_ratio/{self._names[name]}", self._seen.updates[name])
        if "weights" in measure:
            for name in self._weights:
                self._found.add(f"weight_norm/{self._names[name]}", norm(self._seen.weights[name]))

    def _gradients(self) -> None:
        seen, found = self._seen, self._found
        of_weights = {name: rms(seen.weight_gradients[name]) for name in self._weights if name in seen.weight_gradients}
        of_outputs = {
            name: rms(_flat(seen.output_gradients[name])) * seen.num_examples
            for name in self._outputs
            if name in seen.output_gradients
        }
        for name, values in of_weights.items():
            found.add(f"weight_gradient/{self._names[name]}", values)
        for name, values in of_outputs.items():
            self._add(f"activation_gradient/{self._names[name]}", values, self._places(name))
        # Of layers with weights, which all trials that are trained together have.
        of_layers = [values for name, values in of_outputs.items() if "layer" in seen.kinds[name]]
        in_places = [values for name, values in of_weights.items() if self._has_place(name)] or [*of_weights.values()]
        for name, ends in (("weight", in_places), ("activation", of_layers)):
            if len(ends) > 1:  # a layer is not compared with itself
                found.add(f"{name}_gradient_ratio", ratio(ends[0], ends[-1]))

    def _has_place(self, weight: str) -> bool:
        """Whether it is known where in the flow of data a weight is: not if its module has layers inside, as a network
        with a parameter of its own, which may be used before, between or after them.
        """
        owner = self._seen.owners[weight]
        within = f"{owner}." if owner else ""
        return not any(other != owner and other.startswith(within) for other in self._seen.owners.values())

    def _activations(self) -> None:
        found = {name: (*moments(values), quantiles(values)) for name, values in self._flat.items()}
        for number, statistic in enumerate(("mean", "std")):
            for name, of_layer in found.items():
                self._add(f"activation_{statistic}/{self._names[name]}", of_layer[number], self._places(name))
        for number, quantile in enumerate(QUANTILES):
            for name, of_layer in found.items():
                self._add(f"activation_{quantile}/{self._names[name]}", of_layer[2][number], self._places(name))

    def _saturation(self) -> None:
        for name, values in self._flat.items():
            for kind, bounds in BOUNDS.items():
                if places := self._places(name, kind):
                    self._found.add(f"saturated/{self._names[name]}", saturated(_at(values, places), bounds), places)

    def _dead(self) -> None:
        for name, (values, unit_dim) in self._outputs.items():
            if places := self._places(name, "rectifier"):
                self._found.add(f"dead/{self._names[name]}", dead(_at(values, places), unit_dim), places)

    def _places(self, name: str, kind: str | None = None) -> list[int]:
        """The trials in which a module is told of, or is of a kind."""
        kinds = self._seen.kinds[name]
        return [place for place, own in enumerate(kinds) if own is not None and kind in {None, own}]

    def _add(self, name: str, values: Tensor, places: Sequence[int]) -> None:
        """values: (T,), of which those at the places are told."""
        self._found.add(name, _at(values, places), places)


def _flat(calls: Sequence[Tensor]) -> Tensor:
    return calls[0] if len(calls) == 1 else torch.cat([call.flatten(1) for call in calls], dim=1)


def _at(values: Tensor, places: Sequence[int]) -> Tensor:
    return values if len(places) == len(values) else values[list(places)]

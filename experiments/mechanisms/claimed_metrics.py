"""Checks of claims on mechanism metrics: whether a study measures the metric, and its networks have the layer.

They run when a study is planned and not when its file is read, since ledgers are read in the same way.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lightning.pytorch import LightningModule
from torch.nn.parameter import is_lazy

from experiments.errors import Problem
from experiments.study.design import Cell
from experiments.study.mechanisms import find_metric_problem, get_callbacks, is_mechanisms_callback, split_metric
from experiments.study.study import Claim, Study
from experiments.text import describe_choices

from .layer_outputs import classify_layer, find_layers, find_weights, shorten_names

_OF_WEIGHTS = ("weight_gradient", "update_ratio", "weight_norm")
_KINDS = {"dead": {"rectifier"}, "saturated": {"sigmoid", "tanh"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Layers of a network, by the names that metrics may have for them.

    A metric shortens a layer's name depending on the other layers, so a layer has several names; the first one is the
    most likely.

    weights: metric's name -> parameter name.
    outputs: metric's name -> module name.
    kinds: module name -> kind of layer.
    """

    weights: Mapping[str, str]
    outputs: Mapping[str, str]
    kinds: Mapping[str, str | None]

    def with_quantity(self, quantity: str) -> Mapping[str, str]:
        """Return the layers for which a quantity is measured."""
        if quantity in _OF_WEIGHTS:
            return self.weights
        kinds = _KINDS.get(quantity)
        return {short: name for short, name in self.outputs.items() if kinds is None or self.kinds[name] in kinds}


def describe_layers(model: LightningModule) -> Layers | None:
    """Return the layers of a network that may be measured; None if the network is not built yet."""
    if any(is_lazy(parameter) for parameter in model.parameters()) or not find_weights(model):
        return None
    modules = find_layers(model)
    return Layers(
        weights=_name_variants(find_weights(model)),
        outputs=_name_variants(modules),
        kinds={name: classify_layer(module) for name, module in modules.items()},
    )


def _name_variants(names: Iterable[str]) -> dict[str, str]:
    """Map every name that a metric may have to the full name."""
    full = [*names]
    variants = (
        shorten_names(full),
        {name: name.removesuffix(".weight") for name in full},
        {name: name for name in full},
    )
    return {short: name for variant in variants for name, short in variant.items()}


def find_metric_problems(study: Study, cells: Sequence[Cell]) -> list[Problem]:
    """Find metrics of a study and its claims that begin with mechanism/ and that no trial would have."""
    measured = () if study.mechanisms is None else study.mechanisms.measure
    has_callback = any(is_mechanisms_callback(spec) for cell in cells for spec in get_callbacks(cell.config))
    known = None if study.mechanisms is None and has_callback else measured
    named = [("metric.name", study.metric)]
    named += [(f"claims.{claim.name}.metric.name", claim.metric) for claim in study.claims if claim.metric]
    found = [(where, metric.name, find_metric_problem(metric.name, known)) for where, metric in named]
    return [Problem(where=where, what=f"{name} {what}") for where, name, what in found if what is not None]


def find_claim_problems(study: Study, cells: Sequence[Cell], ask: Callable[[Cell], Layers | None]) -> list[Problem]:
    """Find claims on a layer that a compared network does not have, or not of the required kind.

    Args:
        study: has the claims.
        cells: of the study.
        ask: returns the layers of a cell's network; None if they are not known.
    """
    problems = []
    for claim in study.claims:
        metric = claim.metric or study.metric
        found = split_metric(metric.name)
        if found is None:
            continue
        quantity, layer = found
        for cell in _select_compared_cells(claim, cells):
            layers = ask(cell)
            if layers is None:
                continue
            names = layers.with_quantity(quantity)
            if layer not in names:
                where = f"claims.{claim.name}" + (".metric.name" if claim.metric else "")
                expected: dict[str, str] = {}
                for short, name in names.items():
                    expected.setdefault(name, short)
                known = (
                    describe_choices(layer, expected.values(), "layers")
                    if names
                    else f"; no layer there has {quantity!r}"
                )
                what = f"{metric.name} is not measured in the cell {cell}{known}"
                problems.append(Problem(where=where, what=what))
                break
    return problems


def _select_compared_cells(claim: Claim, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that a claim compares, in the order of the study."""
    contexts = [cell for cell in (claim.under, claim.than_under) if cell is not None]
    return [
        cell
        for cell in cells
        if cell.levels[claim.factor] in {claim.better, claim.than}
        and all(cell.levels[factor] == level for factor, level in claim.where)
        and (not contexts or any(cell.levels[factor] == level for factor, level in contexts))
    ]

"""What a claim can be on: which metrics a study measures inside its networks, and of which layers, before they train.

It is asked for when a study is planned and not when its file is read, since ledgers are read so too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lightning.pytorch import LightningModule
from torch.nn.parameter import is_lazy

from experiments.errors import Problem
from experiments.study.design import Cell
from experiments.study.mechanisms import find_metric_problem, get_callbacks, is_callback, split_metric
from experiments.study.study import Claim, Study
from experiments.text import choices

from .layer_outputs import kind_of, shown, watched, weights_of

_OF_WEIGHTS = ("weight_gradient", "update_ratio", "weight_norm")
_KINDS = {"dead": {"rectifier"}, "saturated": {"sigmoid", "tanh"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What metrics may call layers -> the names of the weights, and of the modules that put out, whose kinds these are.

    How short a metric's word for a layer is depends on which others are called, so there are several; the first of a
    name is the one to expect.
    """

    weights: Mapping[str, str]
    outputs: Mapping[str, str]
    kinds: Mapping[str, str | None]

    def with_quantity(self, quantity: str) -> Mapping[str, str]:
        """Those of which it is told."""
        if quantity in _OF_WEIGHTS:
            return self.weights
        kinds = _KINDS.get(quantity)
        return {called: name for called, name in self.outputs.items() if kinds is None or self.kinds[name] in kinds}


def layers_of(model: LightningModule) -> Layers | None:
    """The layers of a network that may be told of; None where it has yet to be built."""
    if any(is_lazy(parameter) for parameter in model.parameters()) or not weights_of(model):
        return None
    modules = watched(model)
    return Layers(
        weights=_called(weights_of(model)),
        outputs=_called(modules),
        kinds={name: kind_of(module) for name, module in modules.items()},
    )


def _called(names: Iterable[str]) -> dict[str, str]:
    whole = [*names]
    ways = (shown(whole), {name: name.removesuffix(".weight") for name in whole}, {name: name for name in whole})
    return {called: name for way in ways for name, called in way.items()}


def metric_problems(study: Study, cells: Sequence[Cell]) -> list[Problem]:
    """The metrics of the study and its claims that begin with mechanism/ and that no trial would have."""
    measured = () if study.mechanisms is None else study.mechanisms.measure
    has_callback = any(is_callback(spec) for cell in cells for spec in get_callbacks(cell.config))
    known = None if study.mechanisms is None and has_callback else measured
    named = [("metric.name", study.metric)]
    named += [(f"claims.{claim.name}.metric.name", claim.metric) for claim in study.claims if claim.metric]
    found = [(where, metric.name, find_metric_problem(metric.name, known)) for where, metric in named]
    return [Problem(where=where, what=f"{name} {what}") for where, name, what in found if what is not None]


def claim_problems(study: Study, cells: Sequence[Cell], ask: Callable[[Cell], Layers | None]) -> list[Problem]:
    """The claims on a layer that a network in question does not have, or not of that kind.

    Arguments:
        study: whose claims they are.
        cells: of the study.
        ask: the layers of a cell's network; None where they are not known.
    """
    problems = []
    for claim in study.claims:
        metric = claim.metric or study.metric
        found = split_metric(metric.name)
        if found is None:
            continue
        quantity, layer = found
        for cell in _compared(claim, cells):
            layers = ask(cell)
            if layers is None:
                continue
            names = layers.with_quantity(quantity)
            if layer not in names:
                where = f"claims.{claim.name}" + (".metric.name" if claim.metric else "")
                expected: dict[str, str] = {}
                for called, name in names.items():
                    expected.setdefault(name, called)
                known = choices(layer, expected.values(), "layers") if names else f"; no layer there has {quantity!r}"
                what = f"{metric.name} is not measured in the cell {cell}{known}"
                problems.append(Problem(where=where, what=what))
                break
    return problems


def _compared(claim: Claim, cells: Sequence[Cell]) -> list[Cell]:
    """The cells that a claim compares, in the order of the study."""
    contexts = [cell for cell in (claim.under, claim.than_under) if cell is not None]
    return [
        cell
        for cell in cells
        if cell.levels[claim.factor] in {claim.better, claim.than}
        and all(cell.levels[factor] == level for factor, level in claim.where)
        and (not contexts or any(cell.levels[factor] == level for factor, level in contexts))
    ]

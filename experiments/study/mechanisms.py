"""Key `mechanisms` of a study: quantities to measure inside its networks. Nothing here imports torch.

    mechanisms: all
    mechanisms: [gradients, dead]
    mechanisms: {measure: [gradients, saturation], examples: 256}

It becomes a callback in the trainer section of every cell, so that a trial's configuration is complete and LightningCLI
measures the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.text import describe_choices

CLASS_PATH = "experiments.mechanisms.Mechanisms"

QUANTITIES = ("gradients", "activations", "saturation", "dead", "updates", "weights", "gap")
"""In the order in which their metrics are logged; docs/mechanisms.md explains each."""

DEFAULT_EXAMPLES = 128

METRICS = {
    "weight_gradient": "gradients",
    "activation_gradient": "gradients",
    "activation_mean": "activations",
    "activation_std": "activations",
    "activation_q05": "activations",
    "activation_q50": "activations",
    "activation_q95": "activations",
    "activation_drift": "activations",
    "saturated": "saturation",
    "dead": "dead",
    "update_ratio": "updates",
    "weight_norm": "weights",
}
"""Quantity of each metric mechanism/<key>/<layer>."""

RATIOS = {"weight_gradient_ratio": "gradients", "activation_gradient_ratio": "gradients"}
"""Quantity of each metric mechanism/<key>, which compares layers."""

_KEYS = ("measure", "examples")
_EXPECTED = f"all, a list of {', '.join(QUANTITIES)}, or {{measure, examples}} is expected"

MECHANISM, GAP = "mechanism/", "gap/"
"""Prefixes of the names of metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MechanismsOptions:
    """Quantities to measure, in the order of `QUANTITIES`, and the number of training examples to measure them on."""

    measure: tuple[str, ...] = QUANTITIES
    examples: int = DEFAULT_EXAMPLES

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain data, as in a study file and in the arguments of the callback."""
        return {"measure": list(self.measure), "examples": self.examples}


def parse_mechanisms(value: Any, add_problem: Callable[[str, str], None]) -> MechanismsOptions | None:
    """Return the options under the key `mechanisms` of a study file; None when there are none or they are wrong.

    Args:
        value: plain data.
        add_problem: called with (where, what) for each problem.

    >>> parse_mechanisms(["dead", "gradients"], print)
    MechanismsOptions(measure=('gradients', 'dead'), examples=128)
    >>> parse_mechanisms(["dead"] * 2, print)
    MechanismsOptions(measure=('dead',), examples=128)
    """
    if value is None:
        return None
    given = value if isinstance(value, Mapping) else {"measure": value}
    for key in given:
        if key not in _KEYS:
            add_problem(f"mechanisms.{key}", f"is not a key here{describe_choices(key, _KEYS)}")
    where = "mechanisms.measure" if isinstance(value, Mapping) else "mechanisms"
    measure = _read_measure(where, given.get("measure", "all"), add_problem)
    examples = given.get("examples", DEFAULT_EXAMPLES)
    if (what := find_examples_problem(examples)) is not None:
        add_problem("mechanisms.examples", what)
        return None
    return None if measure is None else MechanismsOptions(measure=measure, examples=examples)


def sort_quantities(names: Any) -> tuple[str, ...]:
    """Return quantities in the order of `QUANTITIES`, each once; all of them for "all".

    Raises:
        ValueError: when there are none, or one of them is unknown.
    """
    if names == "all":
        return QUANTITIES
    if names in ("off", "none", False):
        raise ValueError(f"is {names!r}; leave the key out to measure nothing")
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"is {names!r}; {_EXPECTED}")
    for name in names:
        if name not in QUANTITIES:
            raise ValueError(f"{name!r} is no quantity{describe_choices(name, QUANTITIES)}")
    return tuple(name for name in QUANTITIES if name in names)


def find_examples_problem(value: Any) -> str | None:
    """Return what is wrong with a number of examples."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return None
    return f"is {value!r}; a number of examples, at least 1, is expected"


def find_metric_problem(metric: str, measured: Iterable[str] | None) -> str | None:
    """Return why no trial of a study has this mechanism metric; None if it may have it, and for other metrics.

    Args:
        metric: name of a metric.
        measured: quantities that the study measures; None if unknown.

    >>> find_metric_problem("mechanism/weight_gradient_ratio", ["dead"])
    "is not measured: `mechanisms` lacks 'gradients'"
    >>> find_metric_problem("mechanism/dead/activation1", ["dead"]), find_metric_problem("val/loss", [])
    (None, None)
    """
    if not metric.startswith(MECHANISM):
        return None
    kind, layer = split_metric(metric) or (metric.removeprefix(MECHANISM), "")
    quantity = METRICS.get(kind) if layer else RATIOS.get(kind)
    if quantity is None and kind in METRICS:
        return f"is measured for each layer; mechanism/{kind}/<layer> is expected"
    if quantity is None and kind in RATIOS:
        return f"is not measured for a layer; mechanism/{kind} is expected"
    if quantity is None:
        return f"begins with mechanism/, but {kind!r} is not a mechanism{describe_choices(kind, (*METRICS, *RATIOS))}"
    if measured is None or quantity in measured:
        return None
    lacks = f"`mechanisms` lacks {quantity!r}" if [*measured] else f"the study needs `mechanisms: [{quantity}]`"
    return f"is not measured: {lacks}"


def split_metric(metric: str) -> tuple[str, str] | None:
    """Split the name of a mechanism metric into what is measured and the layer; None if it is not of a layer.

    >>> split_metric("mechanism/dead/features.relu1"), split_metric("mechanism/weight_gradient_ratio")
    (('dead', 'features.relu1'), None)
    """
    quantity, slash, layer = metric.removeprefix(MECHANISM).partition("/")
    return (quantity, layer) if slash and quantity and layer and metric.startswith(MECHANISM) else None


def list_callbacks(callbacks: Any) -> list[Any]:
    """Return the callbacks of a trainer section as a list: there may be none, one or several."""
    return list(callbacks) if isinstance(callbacks, list | tuple) else [] if callbacks is None else [callbacks]


def get_callbacks(config: Mapping[str, Any]) -> list[Any]:
    """Return the callbacks in the trainer section of a configuration; none if the section is invalid."""
    trainer = config.get("trainer")
    return list_callbacks(trainer.get("callbacks")) if isinstance(trainer, Mapping) else []


def is_mechanisms_callback(spec: Any) -> bool:
    """Return whether a callback of a configuration is `experiments.mechanisms.Mechanisms`."""
    path = spec.get("class_path") if isinstance(spec, Mapping) else spec
    return isinstance(path, str) and path.startswith("experiments.mechanisms.") and path.endswith(".Mechanisms")


def add_mechanisms_callback(config: Mapping[str, Any], options: MechanismsOptions) -> dict[str, Any]:
    """Return a configuration with Mechanisms as the first callback, so that later ones can monitor its metrics."""
    trainer = config.get("trainer") or {}
    if not isinstance(trainer, Mapping):  # reported as a problem elsewhere
        return dict(config)
    spec = {"class_path": CLASS_PATH, "init_args": options.to_dict()}
    return {**config, "trainer": {**trainer, "callbacks": [spec, *list_callbacks(trainer.get("callbacks"))]}}


def report_double_callbacks(
    configs: Mapping[str, Iterable[Mapping[str, Any]]], add_problem: Callable[[str, str], None]
) -> None:
    """Report each location whose configurations have the callback that the study's key adds."""
    for where, of_location in configs.items():
        if any(is_mechanisms_callback(spec) for config in of_location for spec in get_callbacks(config)):
            add_problem(
                where, f"has {CLASS_PATH}, which the study's `mechanisms` adds to every cell; remove one of the two"
            )


def read_mechanisms_options(spec: Mapping[str, Any]) -> MechanismsOptions:
    """Return the options of the Mechanisms callback in a resolved configuration."""
    arguments = spec.get("init_args") or {}
    return MechanismsOptions(
        measure=sort_quantities(arguments.get("measure", "all")), examples=arguments.get("examples", DEFAULT_EXAMPLES)
    )


def is_mechanism(metric: str) -> bool:
    """Return whether a metric measures the inside of a network, judged by its name.

    >>> [is_mechanism(name) for name in ("mechanism/dead/activation1", "gap/loss", "val/loss")]
    [True, True, False]
    """
    return metric.startswith((MECHANISM, GAP))


def _read_measure(where: str, value: Any, add_problem: Callable[[str, str], None]) -> tuple[str, ...] | None:
    try:
        return sort_quantities(value)
    except ValueError as error:
        add_problem(where, str(error))
        return None

"""What a study asks for by its key `mechanisms`: quantities of the inside of its networks. No torch.

    mechanisms: all
    mechanisms: [gradients, dead]
    mechanisms: {measure: [gradients, saturation], examples: 256}

It becomes a callback in the trainer section of every cell, so that a trial's configuration says all of it and stock
LightningCLI measures the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.text import choices

CLASS_PATH = "experiments.mechanisms.Mechanisms"

QUANTITIES = ("gradients", "activations", "saturation", "dead", "updates", "weights", "gap")
"""In the order in which their metrics are told; docs/mechanisms.md says what each is."""

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
"""What mechanism/<key>/<layer> is part of."""

RATIOS = {"weight_gradient_ratio": "gradients", "activation_gradient_ratio": "gradients"}
"""What mechanism/<key> is part of, which is of no single layer."""

_KEYS = ("measure", "examples")
_EXPECTED = f"all, a list of {', '.join(QUANTITIES)}, or {{measure, examples}} is expected"

MECHANISM, GAP = "mechanism/", "gap/"
"""What the names of metrics begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Which quantities, in the order of `QUANTITIES`, and on how many examples of the training split."""

    measure: tuple[str, ...] = QUANTITIES
    examples: int = DEFAULT_EXAMPLES

    def to_dict(self) -> dict[str, Any]:
        """As plain data of a study file, and as arguments of the callback."""
        return {"measure": list(self.measure), "examples": self.examples}


def read_options(value: Any, wrong: Callable[[str, str], None]) -> Options | None:
    """The options in what a study file has under `mechanisms`; None where it has nothing, or nothing that is right.

    Arguments:
        value: plain data.
        wrong: is told what is wrong, as (where, what).

    >>> read_options(["dead", "gradients"], print)
    Options(measure=('gradients', 'dead'), examples=128)
    >>> read_options(["dead"] * 2, print)
    Options(measure=('dead',), examples=128)
    """
    if value is None:
        return None
    given = value if isinstance(value, Mapping) else {"measure": value}
    for key in given:
        if key not in _KEYS:
            wrong(f"mechanisms.{key}", f"is not a key here{choices(key, _KEYS)}")
    where = "mechanisms.measure" if isinstance(value, Mapping) else "mechanisms"
    measure = _measure(where, given.get("measure", "all"), wrong)
    examples = given.get("examples", DEFAULT_EXAMPLES)
    if (what := find_examples_problem(examples)) is not None:
        wrong("mechanisms.examples", what)
        return None
    return None if measure is None else Options(measure=measure, examples=examples)


def sort_quantities(names: Any) -> tuple[str, ...]:
    """These quantities in the order of `QUANTITIES`, each once; all of them for "all".

    Raises:
        ValueError: when they are none, or one of them is unknown.
    """
    if names == "all":
        return QUANTITIES
    if names in ("off", "none", False):
        raise ValueError(f"is {names!r}; leave the key out to measure nothing")
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"is {names!r}; {_EXPECTED}")
    for name in names:
        if name not in QUANTITIES:
            raise ValueError(f"{name!r} is no quantity{choices(name, QUANTITIES)}")
    return tuple(name for name in QUANTITIES if name in names)


def find_examples_problem(value: Any) -> str | None:
    """What is wrong with a number of examples."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return None
    return f"is {value!r}; a number of examples, at least 1, is expected"


def find_metric_problem(metric: str, measured: Iterable[str] | None) -> str | None:
    """Why a study never has a metric of this name; None where it may, and for those of other kinds.

    Arguments:
        metric: a name.
        measured: the quantities that the study asks for; None where that is not known.

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
        return f"is measured of each layer; mechanism/{kind}/<layer> is expected"
    if quantity is None and kind in RATIOS:
        return f"is of no single layer; mechanism/{kind} is expected"
    if quantity is None:
        return f"begins with mechanism/, but {kind!r} is nothing that is measured{choices(kind, (*METRICS, *RATIOS))}"
    if measured is None or quantity in measured:
        return None
    lacks = f"`mechanisms` lacks {quantity!r}" if [*measured] else f"the study needs `mechanisms: [{quantity}]`"
    return f"is not measured: {lacks}"


def split_metric(metric: str) -> tuple[str, str] | None:
    """What is measured and of which layer; None for a metric that is of no layer.

    >>> split_metric("mechanism/dead/features.relu1"), split_metric("mechanism/weight_gradient_ratio")
    (('dead', 'features.relu1'), None)
    """
    quantity, slash, layer = metric.removeprefix(MECHANISM).partition("/")
    return (quantity, layer) if slash and quantity and layer and metric.startswith(MECHANISM) else None


def list_callbacks(callbacks: Any) -> list[Any]:
    """The callbacks of a trainer section as a list, whatever form they are given in."""
    return list(callbacks) if isinstance(callbacks, list | tuple) else [] if callbacks is None else [callbacks]


def get_callbacks(config: Mapping[str, Any]) -> list[Any]:
    """The callbacks in the trainer section of a configuration, as far as it is one."""
    trainer = config.get("trainer")
    return list_callbacks(trainer.get("callbacks")) if isinstance(trainer, Mapping) else []


def is_callback(spec: Any) -> bool:
    """Whether a callback of a configuration is the one that measures mechanisms."""
    path = spec.get("class_path") if isinstance(spec, Mapping) else spec
    return isinstance(path, str) and path.startswith("experiments.mechanisms.") and path.endswith(".Mechanisms")


def add_callback(config: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """A cell's configuration with the callback, before its others: a callback that stops training may watch it."""
    trainer = config.get("trainer") or {}
    if not isinstance(trainer, Mapping):  # which is a problem of its own
        return dict(config)
    spec = {"class_path": CLASS_PATH, "init_args": options.to_dict()}
    return {**config, "trainer": {**trainer, "callbacks": [spec, *list_callbacks(trainer.get("callbacks"))]}}


def report_double_callbacks(
    configs: Mapping[str, Iterable[Mapping[str, Any]]], wrong: Callable[[str, str], None]
) -> None:
    """Tell which of these configurations, by where they stand, have the callback that the study's key adds."""
    for where, of_place in configs.items():
        if any(is_callback(spec) for config in of_place for spec in get_callbacks(config)):
            wrong(where, f"has {CLASS_PATH}, which the study's `mechanisms` adds to every cell; remove one of the two")


def read_callback(spec: Mapping[str, Any]) -> Options:
    """What a callback in a resolved configuration is asked for."""
    arguments = spec.get("init_args") or {}
    return Options(
        measure=sort_quantities(arguments.get("measure", "all")), examples=arguments.get("examples", DEFAULT_EXAMPLES)
    )


def is_mechanism(metric: str) -> bool:
    """Whether a metric tells of the inside of a network, by its name.

    >>> [is_mechanism(name) for name in ("mechanism/dead/activation1", "gap/loss", "val/loss")]
    [True, True, False]
    """
    return metric.startswith((MECHANISM, GAP))


def _measure(where: str, value: Any, wrong: Callable[[str, str], None]) -> tuple[str, ...] | None:
    try:
        return sort_quantities(value)
    except ValueError as error:
        wrong(where, str(error))
        return None

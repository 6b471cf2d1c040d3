"""How far what a layer puts out has moved since the first epoch: what batch norm was said to prevent."""

from collections.abc import Mapping

from experiments.study.mechanisms import MECHANISM
from experiments.training.epoch_metrics import Metrics

from .quantities import QUANTILES

_OF_LAYER = [f"{MECHANISM}activation_{quantile}/" for quantile in QUANTILES]
_DRIFT = f"{MECHANISM}activation_drift/"


class Drift:
    """Of one trial, from epoch to epoch.

    >>> drift = Drift()
    >>> names = [f"mechanism/activation_{quantile}/act" for quantile in QUANTILES]
    >>> [drift.of(dict(zip(names, values))) for values in ((0.0, 1.0, 2.0), (0.0, 1.0, 5.0))]
    [{'mechanism/activation_drift/act': 0.0}, {'mechanism/activation_drift/act': 0.5}]
    """

    def __init__(self) -> None:
        self._first: dict[str, list[float]] = {}

    def of(self, metrics: Mapping[str, float]) -> Metrics:
        """By how much quantiles moved, on average, as a share of the first range between the outer two.

        Nothing is told of a layer whose outputs were all one value at first.

        Arguments:
            metrics: of the epoch that ends, with the quantiles of the layers that it tells of.
        """
        found = {}
        for name in metrics:
            if not name.startswith(_OF_LAYER[0]):
                continue
            layer = name.removeprefix(_OF_LAYER[0])
            now = [metrics[f"{prefix}{layer}"] for prefix in _OF_LAYER]
            first = self._first.setdefault(layer, now)
            if (width := first[-1] - first[0]) > 0:
                moved = sum(abs(new - old) for new, old in zip(now, first, strict=True)) / len(now)
                found[f"{_DRIFT}{layer}"] = moved / width
        return found

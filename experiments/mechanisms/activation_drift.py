"""Drift of a layer's outputs since the first epoch, which batch norm was said to prevent."""

from collections.abc import Mapping

from experiments.study.mechanisms import MECHANISM
from experiments.training.epoch_metrics import Metrics

from .quantities import QUANTILES

_OF_LAYER = [f"{MECHANISM}activation_{quantile}/" for quantile in QUANTILES]
_DRIFT = f"{MECHANISM}activation_drift/"


class Drift:
    """Drift in one trial, from epoch to epoch.

    >>> drift = Drift()
    >>> names = [f"mechanism/activation_{quantile}/act" for quantile in QUANTILES]
    >>> [drift.update(dict(zip(names, values))) for values in ((0.0, 1.0, 2.0), (0.0, 1.0, 5.0))]
    [{'mechanism/activation_drift/act': 0.0}, {'mechanism/activation_drift/act': 0.5}]
    """

    def __init__(self) -> None:
        self._first: dict[str, list[float]] = {}

    def update(self, metrics: Mapping[str, float]) -> Metrics:
        """Compute how far quantiles moved, on average, as a share of the first range between the outer two.

        A layer whose first outputs were all one value has no drift.

        Args:
            metrics: of an epoch, with the quantiles of layers.
        """
        drifts = {}
        for name in metrics:
            if not name.startswith(_OF_LAYER[0]):
                continue
            layer = name.removeprefix(_OF_LAYER[0])
            current = [metrics[f"{prefix}{layer}"] for prefix in _OF_LAYER]
            first = self._first.setdefault(layer, current)
            if (width := first[-1] - first[0]) > 0:
                moved = sum(abs(new - old) for new, old in zip(current, first, strict=True)) / len(current)
                drifts[f"{_DRIFT}{layer}"] = moved / width
        return drifts

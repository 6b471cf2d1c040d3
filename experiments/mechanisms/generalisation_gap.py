"""Generalisation gap: metrics of validation minus those of the same steps on training examples."""

from collections.abc import Mapping

from experiments.study.study import infer_goal

_PREFIXES = ("validation", "valid", "val")


def compute_gaps(train: Mapping[str, float], validation: Mapping[str, float]) -> dict[str, float]:
    """Compute by how much each metric is worse in validation; positive is worse.

    Args:
        train: metrics of the validation step on training examples, by their logged names.
        validation: its metrics in validation.

    >>> compute_gaps({"val/loss": 0.25, "val/acc": 1.0}, {"val/loss": 0.5, "val/acc": 0.75})
    {'gap/loss': 0.25, 'gap/acc': 0.25}
    """
    gaps = {}
    for name, on_train in train.items():
        if name in validation:
            difference = validation[name] - on_train
            gaps[make_gap_name(name)] = difference if infer_goal(name) == "min" else -difference
    return gaps


def make_gap_name(name: str) -> str:
    """Return the name of a gap: gap/ and the metric's name without its prefix for validation.

    >>> [make_gap_name(name) for name in ("val/f1", "val_loss", "valid/top/1", "accuracy")]
    ['gap/f1', 'gap/loss', 'gap/top/1', 'gap/accuracy']
    """
    for prefix in _PREFIXES:
        if name.startswith((f"{prefix}/", f"{prefix}_")):
            return f"gap/{name[len(prefix) + 1 :]}"
    return f"gap/{name}"

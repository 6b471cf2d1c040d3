"""The generalisation gap: what validation measured against the same steps on examples of training."""

from collections.abc import Mapping

from experiments.study.study import infer_goal

_PREFIXES = ("validation", "valid", "val")


def gaps(train: Mapping[str, float], validation: Mapping[str, float]) -> dict[str, float]:
    """By how much each metric is worse in validation: positive is worse.

    Arguments:
        train: what the validation step logs on examples of training, by the names that it gives.
        validation: what it logged in validation.

    >>> gaps({"val/loss": 0.25, "val/acc": 1.0}, {"val/loss": 0.5, "val/acc": 0.75})
    {'gap/loss': 0.25, 'gap/acc': 0.25}
    """
    found = {}
    for name, on_train in train.items():
        if name in validation:
            difference = validation[name] - on_train
            found[gap_name(name)] = difference if infer_goal(name) == "min" else -difference
    return found


def gap_name(name: str) -> str:
    """gap/ and the name of a metric of validation without what says so.

    >>> [gap_name(name) for name in ("val/f1", "val_loss", "valid/top/1", "accuracy")]
    ['gap/f1', 'gap/loss', 'gap/top/1', 'gap/accuracy']
    """
    for prefix in _PREFIXES:
        if name.startswith((f"{prefix}/", f"{prefix}_")):
            return f"gap/{name[len(prefix) + 1 :]}"
    return f"gap/{name}"

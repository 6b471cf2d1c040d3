"""The generalisation gap: what validation measured against the same steps on examples of training."""

from collections.abc import Mapping

_PREFIXES = ("validation", "valid", "val")
_SMALLER_IS_BETTER = {"loss", "losses", "error", "err", "mse", "rmse", "mae", "nll", "ce", "bce", "perplexity", "ppl"}


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
            found[gap_name(name)] = difference if is_smaller_better(name) else -difference
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


def is_smaller_better(name: str) -> bool:
    """Whether less of a metric is better, by a word in the last part of its name, such as loss, error or mse.

    >>> [is_smaller_better(name) for name in ("val/loss", "val_top1_error", "loss/acc", "val/closs")]
    [True, True, False, False]
    """
    words = name.rpartition("/")[2].lower().split("_")
    return not _SMALLER_IS_BETTER.isdisjoint(words)

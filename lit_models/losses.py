"""Losses: one by name, or a weighted sum of several.

Shapes: B batch, C classes, K predicted numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from torch import Tensor
from torch.nn import functional

from ablation_suite.argument_checks import check_choice, check_positive

Loss = Literal["cross_entropy", "nll", "mse", "l1", "bce"]
RegressionLoss = Literal["mse", "l1", "huber"]


def parse_loss_weights(owner: str, loss: str | Mapping[Any, float], accepted: object) -> dict[str, float]:
    """Return the weight of each loss, from one name or from weights by name.

    Args:
        owner: the class named in error messages.
        loss: a name, or name -> weight.
        accepted: the `Literal` of the names.

    Raises:
        ValueError: a name is not accepted, there is none, or a weight is not a positive number.

    >>> parse_loss_weights("MLP", "mse", Loss), parse_loss_weights("MLP", {"cross_entropy": 0.7, "mse": 0.3}, Loss)
    ({'mse': 1.0}, {'cross_entropy': 0.7, 'mse': 0.3})
    >>> parse_loss_weights("MLP", {"cross_entropy": -1}, Loss)
    Traceback (most recent call last):
    ValueError: MLP: loss.cross_entropy is -1; accepted: a number above 0
    """
    weights = {loss: 1.0} if isinstance(loss, str) else dict(loss)
    if not weights:
        raise ValueError(
            f"{owner}: loss is {{}}; accepted: {', '.join(map(repr, get_args(accepted)))}, or weights of them"
        )
    for name, weight in weights.items():
        check_choice(owner, "loss", name, get_args(accepted))
        check_positive(owner, f"loss.{name}", weight)
    return {name: float(weight) for name, weight in weights.items()}


def classification_loss(weights: Mapping[str, float], logits: Tensor, target: Tensor, *, has_one_logit: bool) -> Tensor:
    """Return the weighted sum of losses, a scalar. Each is a mean over the batch.

    | loss | with logits z, their softmax p, and one-hot targets y |
    |---|---|
    | cross_entropy | -log p of the target's class |
    | nll | the same, computed as torch's NLLLoss of log p |
    | mse | (p - y)^2, mean over the classes: the Brier score (1950) divided by the number of classes |
    | l1 | abs(p - y), mean over the classes |
    | bce | -y log sigmoid(z) - (1 - y) log(1 - sigmoid(z)), mean over the classes: one class against all others |

    bce fits one logistic regression per class; the largest logit still predicts the class. For a network with one
    logit z for two classes, bce is the cross-entropy. mse, l1 and bce are means over classes, as in torch, so their
    gradients shrink with more classes: tune the learning rate for each loss.

    Args:
        weights: name -> weight, see `parse_loss_weights`.
        logits: (B, C).
        target: (B,), int64.
        has_one_logit: whether the logits are (0, z), B rows of one logit z for two classes.
    """
    names = {"bce": "one-logit bce"} if has_one_logit else {}
    return _sum_losses({names.get(name, name): weight for name, weight in weights.items()}, logits, target)


def regression_loss(weights: Mapping[str, float], predictions: Tensor, target: Tensor) -> Tensor:
    """Return the weighted sum of losses, a scalar. Each is a mean over batch and numbers.

    | loss | with the error e = prediction - target |
    |---|---|
    | mse | e^2 |
    | l1 | abs(e) |
    | huber | e^2 / 2 up to abs(e) = 1, abs(e) - 1/2 beyond (Huber 1964, Robust estimation of a location parameter) |

    Args:
        weights: name -> weight, see `parse_loss_weights`.
        predictions: (B, K).
        target: (B, K).
    """
    return _sum_losses({f"regression {name}": weight for name, weight in weights.items()}, predictions, target)


def _sum_losses(weights: Mapping[str, float], outputs: Tensor, target: Tensor) -> Tensor:
    first, *others = (weight * _LOSSES[name](outputs, target) for name, weight in weights.items())
    return sum(others, start=first)


def _nll(logits: Tensor, target: Tensor) -> Tensor:
    return functional.nll_loss(logits.log_softmax(dim=1), target)


def _mse(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.softmax(dim=1) - _encode_one_hot(logits, target)).square().mean()


def _l1(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.softmax(dim=1) - _encode_one_hot(logits, target)).abs().mean()


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, _encode_one_hot(logits, target))


def _bce_of_one_logit(logits: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits[:, 1], target.to(logits.dtype))


# torch's mse_loss and huber_loss fail under vmap over two axes if the target has only one of them (2.14).


def _mean_squared(predictions: Tensor, target: Tensor) -> Tensor:
    return (predictions - target).square().mean()


def _mean_absolute(predictions: Tensor, target: Tensor) -> Tensor:
    return (predictions - target).abs().mean()


def _huber(predictions: Tensor, target: Tensor) -> Tensor:
    error = (predictions - target).abs()
    near = error.clamp(max=1)  # e^2 / 2 up to 1 and e - 1/2 beyond, without a branch
    return (near * (error - near / 2)).mean()


def _encode_one_hot(logits: Tensor, target: Tensor) -> Tensor:
    """Return the target (B,) as (B, C), in the dtype of the logits; `functional.one_hot` fails under vmap."""
    classes = target.new_tensor(range(logits.shape[1]))
    return (target.unsqueeze(1) == classes).to(logits.dtype)


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "nll": _nll,
    "mse": _mse,
    "l1": _l1,
    "bce": _bce,
    "one-logit bce": _bce_of_one_logit,
    "regression mse": _mean_squared,
    "regression l1": _mean_absolute,
    "regression huber": _huber,
}

"""What networks are trained to make small: one loss by name, or several with weights.

Shapes: B batch, C classes, K numbers that are predicted.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from torch import Tensor
from torch.nn import functional

from ablation_suite.argument_checks import check_choice, check_positive

Loss = Literal["cross_entropy", "nll", "mse", "l1", "bce"]
RegressionLoss = Literal["mse", "l1", "huber"]


def loss_weights(owner: str, loss: str | Mapping[Any, float], accepted: object) -> dict[str, float]:
    """The weight of each loss, from one name or from weights by name.

    Arguments:
        owner: whom error messages name.
        loss: a name, or name -> weight.
        accepted: the `Literal` of the names.

    Raises:
        ValueError: a name that is not accepted, no name at all, or a weight that is not a positive number.

    >>> loss_weights("MLP", "mse", Loss), loss_weights("MLP", {"cross_entropy": 0.7, "mse": 0.3}, Loss)
    ({'mse': 1.0}, {'cross_entropy': 0.7, 'mse': 0.3})
    >>> loss_weights("MLP", {"cross_entropy": -1}, Loss)
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
    """The weighted sum of losses, a scalar: each a mean over the batch.

    | loss | of logits z, their softmax p, and targets y, 1 for the right class and 0 for others |
    |---|---|
    | cross_entropy | -log p of the right class |
    | nll | the same, as torch's NLLLoss of log p: two names of one loss |
    | mse | (p - y)^2, mean over the classes: the Brier score (1950) by the number of classes |
    | l1 | abs(p - y), mean over the classes |
    | bce | -y log sigmoid(z) - (1 - y) log(1 - sigmoid(z)), mean over the classes: one against all |

    With bce, each class has a logistic regression of its own, and the largest logit still says the class; of a network
    with one logit z for two classes it is the cross-entropy. Means over classes are torch's, so gradients of mse, l1
    and bce get smaller with more classes: give each loss a learning rate of its own.

    Arguments:
        weights: name -> weight, see `loss_weights`.
        logits: (B, C).
        target: (B,), int64.
        has_one_logit: whether the logits are (0, z), B rows of one logit z for two classes.
    """
    names = {"bce": "bce of one logit"} if has_one_logit else {}
    return _weighted({names.get(name, name): weight for name, weight in weights.items()}, logits, target)


def regression_loss(weights: Mapping[str, float], predictions: Tensor, target: Tensor) -> Tensor:
    """The weighted sum of losses, a scalar: each a mean over batch and numbers.

    | loss | of the error e = prediction - target |
    |---|---|
    | mse | e^2 |
    | l1 | abs(e) |
    | huber | e^2 / 2 up to abs(e) = 1, abs(e) - 1/2 beyond (Huber 1964, Robust estimation of a location parameter) |

    Arguments:
        weights: name -> weight, see `loss_weights`.
        predictions: (B, K).
        target: (B, K).
    """
    return _weighted({f"regression {name}": weight for name, weight in weights.items()}, predictions, target)


def _weighted(weights: Mapping[str, float], outputs: Tensor, target: Tensor) -> Tensor:
    first, *others = (weight * _LOSSES[name](outputs, target) for name, weight in weights.items())
    return sum(others, start=first)


def _nll(logits: Tensor, target: Tensor) -> Tensor:
    return functional.nll_loss(logits.log_softmax(dim=1), target)


def _mse(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.softmax(dim=1) - _one_hot(logits, target)).square().mean()


def _l1(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.softmax(dim=1) - _one_hot(logits, target)).abs().mean()


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, _one_hot(logits, target))


def _bce_of_one_logit(logits: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits[:, 1], target.to(logits.dtype))


# Torch's mse_loss and huber_loss fail under vmap over two axes where the target has only one of them (2.14).


def _mean_squared(predictions: Tensor, target: Tensor) -> Tensor:
    return (predictions - target).square().mean()


def _mean_absolute(predictions: Tensor, target: Tensor) -> Tensor:
    return (predictions - target).abs().mean()


def _huber(predictions: Tensor, target: Tensor) -> Tensor:
    error = (predictions - target).abs()
    near = error.clamp(max=1)  # e^2 / 2 up to 1 and e - 1/2 beyond, without a branch
    return (near * (error - near / 2)).mean()


def _one_hot(logits: Tensor, target: Tensor) -> Tensor:
    """(B, C), in the type of the logits; `functional.one_hot` looks at values, which vmap does not let it."""
    classes = target.new_tensor(range(logits.shape[1]))
    return (target.unsqueeze(1) == classes).to(logits.dtype)


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "nll": _nll,
    "mse": _mse,
    "l1": _l1,
    "bce": _bce,
    "bce of one logit": _bce_of_one_logit,
    "regression mse": _mean_squared,
    "regression l1": _mean_absolute,
    "regression huber": _huber,
}

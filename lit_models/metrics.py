"""What networks are measured by, from logits or predictions and targets.

Shapes: B batch, N examples, C classes, K numbers that are predicted of an example.
"""

import torch
from torch import Tensor


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """The share of examples whose largest logit is the target's, a scalar. logits: (B, C), target: (B,), int64.

    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    tensor(0.5000)
    """
    return (logits.argmax(dim=-1) == target).to(logits.dtype).mean()


def f1(logits: Tensor, target: Tensor) -> Tensor:
    """The F1 score of class 1, 2 TP / (2 TP + FP + FN), a scalar. logits: (N, 2), target: (N,), int64.

    The harmonic mean of precision and recall (van Rijsbergen 1979, Information Retrieval, chapter 7). It is no mean of
    batches, so give it all examples. Where class 1 is neither there nor predicted, it is 0.

    Raises:
        ValueError: there are other than two classes.

    >>> f1(torch.tensor([[0.0, 1.0], [0.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 0, 0]))
    tensor(0.6667)
    """
    _check_binary("f1", logits)
    predicted = logits.argmax(dim=1)
    twice_hit = 2 * ((predicted == 1) & (target == 1)).sum()
    return twice_hit.to(_precision(logits)) / ((predicted == 1).sum() + (target == 1).sum()).clamp(min=1)


def auroc(logits: Tensor, target: Tensor) -> Tensor:
    """The area under the ROC curve of class 1, a scalar. logits: (N, 2), target: (N,), int64.

    It is the probability that a random example of class 1 has a higher score than a random one of class 0, where a tie
    counts half (Hanley & McNeil 1982, The meaning and use of the area under a receiver operating characteristic curve:
    the statistic of Mann & Whitney), and the score is logit 1 - logit 0, which orders examples as the probability does
    and, unlike it, does not saturate. Computed from ranks, exactly up to this: scores in double precision are compared
    in single, lest rounding break ties (two texts of the same words have the same mean embedding, but for the order of
    the sum). It is no mean of batches, so give it all examples. It is not defined, and NaN, where one class is missing
    or a score is NaN.

    Raises:
        ValueError: there are other than two classes.

    >>> auroc(torch.tensor([[0.0, 1.0], [0.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 0, 0]))
    tensor(0.5000)
    """
    _check_binary("auroc", logits)
    scores = logits[:, 1] - logits[:, 0]
    scores = scores.float() if scores.dtype == torch.float64 else scores
    of_class_0, of_class_1 = scores[target == 0].sort().values, scores[target == 1].contiguous()
    lower, lower_or_equal = (torch.searchsorted(of_class_0, of_class_1, right=right) for right in (False, True))
    twice_won = (lower + lower_or_equal).sum()  # whole numbers, exact however many examples there are
    area = twice_won.to(_precision(logits)) / (2 * len(of_class_0) * len(of_class_1))
    return torch.where(scores.isnan().any(), torch.nan, area)


def rmse(predictions: Tensor, target: Tensor) -> Tensor:
    """The root of the mean squared error, a scalar. predictions and target: (N, K).

    It is no mean of batches, so give it all examples.

    >>> rmse(torch.tensor([[3.0], [0.0]]), torch.tensor([[0.0], [4.0]]))
    tensor(3.5355)
    """
    return (predictions - target).square().mean().sqrt()


def r2(predictions: Tensor, target: Tensor) -> Tensor:
    """The coefficient of determination, a scalar: 1 - sum of squared errors / that of the mean of the targets.

    predictions and target: (N, K). 1 is perfect, 0 as good as the mean of these targets, and there is no least value.
    Of several numbers it is the mean over them. It is no mean of batches, so give it all examples. It is not defined,
    and NaN, where all targets are equal.

    >>> r2(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [2.0], [6.0]]))
    tensor(0.3571)
    """
    left = (predictions - target).square().sum(dim=0)
    whole = (target - target.mean(dim=0)).square().sum(dim=0)
    return torch.where(whole > 0, 1 - left / whole, torch.nan).mean()


def _check_binary(name: str, logits: Tensor) -> None:
    if logits.dim() != 2 or logits.shape[1] != 2:  # noqa: PLR2004
        raise ValueError(f"{name}: logits are {tuple(logits.shape)}; accepted: (N, 2), of two classes")


def _precision(logits: Tensor) -> torch.dtype:
    """Of a result: single even where logits are half, which counts no further than 2,048."""
    return torch.promote_types(logits.dtype, torch.float32)

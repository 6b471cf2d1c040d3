"""Metrics, computed from logits or predictions and targets.

Shapes: B batch, N examples, C classes, K predicted numbers of an example.
"""

import torch
from torch import Tensor


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the share of examples that are classified correctly, a scalar. logits: (B, C), target: (B,), int64.

    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    tensor(0.5000)
    """
    return (logits.argmax(dim=-1) == target).to(logits.dtype).mean()


def f1(logits: Tensor, target: Tensor) -> Tensor:
    """Return the F1 score of class 1, 2 TP / (2 TP + FP + FN), a scalar. logits: (N, 2), target: (N,), int64.

    F1 is the harmonic mean of precision and recall (van Rijsbergen 1979, Information Retrieval, chapter 7). It is not a
    mean over batches, so pass all examples. It is 0 if class 1 neither occurs nor is predicted.

    Raises:
        ValueError: there are not two classes.

    >>> f1(torch.tensor([[0.0, 1.0], [0.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 0, 0]))
    tensor(0.6667)
    """
    _check_binary("f1", logits)
    predicted = logits.argmax(dim=1)
    twice_hit = 2 * ((predicted == 1) & (target == 1)).sum()
    return twice_hit.to(_result_dtype(logits)) / ((predicted == 1).sum() + (target == 1).sum()).clamp(min=1)


def auroc(logits: Tensor, target: Tensor) -> Tensor:
    """Return the area under the ROC curve of class 1, a scalar. logits: (N, 2), target: (N,), int64.

    It is the probability that a random example of class 1 has a higher score than a random one of class 0; a tie counts
    half (Hanley & McNeil 1982, The meaning and use of the area under a receiver operating characteristic curve: the
    statistic of Mann & Whitney). The score is logit 1 - logit 0, which orders examples as the probability does but does
    not saturate. The area is computed exactly from ranks, with one exception: scores in double precision are compared
    in single precision, because rounding would break ties (the mean embeddings of two texts with the same words differ
    by the order of summation). It is not a mean over batches, so pass all examples. It is NaN if a class is missing or
    a score is NaN.

    Raises:
        ValueError: there are not two classes.

    >>> auroc(torch.tensor([[0.0, 1.0], [0.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 0, 0]))
    tensor(0.5000)
    """
    _check_binary("auroc", logits)
    scores = logits[:, 1] - logits[:, 0]
    scores = scores.float() if scores.dtype == torch.float64 else scores
    of_class_0, of_class_1 = scores[target == 0].sort().values, scores[target == 1].contiguous()
    lower, lower_or_equal = (torch.searchsorted(of_class_0, of_class_1, right=right) for right in (False, True))
    twice_won = (lower + lower_or_equal).sum()  # integers, so exact for any number of examples
    area = twice_won.to(_result_dtype(logits)) / (2 * len(of_class_0) * len(of_class_1))
    return torch.where(scores.isnan().any(), torch.nan, area)


def rmse(predictions: Tensor, target: Tensor) -> Tensor:
    """Return the root mean squared error, a scalar. predictions and target: (N, K).

    It is not a mean over batches, so pass all examples.

    >>> rmse(torch.tensor([[3.0], [0.0]]), torch.tensor([[0.0], [4.0]]))
    tensor(3.5355)
    """
    return (predictions - target).square().mean().sqrt()


def r2(predictions: Tensor, target: Tensor) -> Tensor:
    """Return the coefficient of determination, a scalar: 1 - SSE of the predictions / SSE of the mean target.

    predictions and target: (N, K). 1 is perfect, 0 is as good as the mean of these targets, and there is no lower
    bound. For K > 1 it is the mean over the K numbers. It is not a mean over batches, so pass all examples. It is NaN
    if all targets are equal.

    >>> r2(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [2.0], [6.0]]))
    tensor(0.3571)
    """
    residual = (predictions - target).square().sum(dim=0)
    total = (target - target.mean(dim=0)).square().sum(dim=0)
    return torch.where(total > 0, 1 - residual / total, torch.nan).mean()


def _check_binary(name: str, logits: Tensor) -> None:
    if logits.dim() != 2 or logits.shape[1] != 2:  # noqa: PLR2004
        raise ValueError(f"{name}: logits are {tuple(logits.shape)}; accepted: (N, 2), for two classes")


def _result_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype of a result: at least float32, since float16 counts only up to 2,048."""
    return torch.promote_types(logits.dtype, torch.float32)

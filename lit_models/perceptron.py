"""One linear layer: the simplest network, and what the others are measured against."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import ClassVar, get_args

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from lit_models.arguments import check_choice
from lit_models.classifier import Classifier, Head
from lit_models.initialisation import Init, initialise
from lit_models.inputs import Reads


class Perceptron(Classifier):
    """Multinomial logistic regression: logits = W x + b, for x of any shape, flattened.

    Args:
        init: where W starts, see `initialise`.
        optimizer: from the parameters to their optimizer.
        lr_scheduler: from the optimizer to a schedule of its learning rate, which advances after each epoch; None keeps
            the rate.
        head: softmax or sigmoid, see `Classifier`.
        input_shape: the shape of one example; None asks the data module.
        num_classes: the number of classes; None asks the data module.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

    >>> Perceptron(input_shape=(1, 8, 8), num_classes=10).layers
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (output): Linear(in_features=64, out_features=10, bias=True)
    )
    """

    reads: ClassVar[Reads] = "numbers"

    def __init__(
        self,
        init: Init = "default",
        *,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
        head: Head = "softmax",
        input_shape: Sequence[int] | None = None,
        num_classes: int | None = None,
    ) -> None:
        check_choice(type(self).__name__, "init", init, get_args(Init))
        super().__init__(
            partial(_make_layers, init=init),
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            head=head,
            input_shape=input_shape,
            num_classes=num_classes,
        )


def _make_layers(input_shape: Sequence[int], num_outputs: int, *, init: Init) -> nn.Module:
    output = nn.Linear(prod(input_shape), num_outputs)
    layers = nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=output))
    initialise(layers, init)
    return layers

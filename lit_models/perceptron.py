"""A single linear layer, the baseline of all other networks."""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, get_args

from torch import nn

from ablation_suite.argument_checks import check_choice
from lit_models.classifier import Classifier
from lit_models.initialisation import Init, initialise
from lit_models.input_kinds import InputKind


class Perceptron(Classifier):
    """Multinomial logistic regression: logits = W x + b, for x of any shape, flattened.

    Args:
        init: initial values of W, see `initialise`.
        options: optimizer, lr_scheduler, head, loss, l1, l2, input_shape and num_classes, see `Classifier`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    >>> Perceptron(input_shape=(1, 8, 8), num_classes=10).layers
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (output): Linear(in_features=64, out_features=10, bias=True)
    )
    """

    input_kind: ClassVar[InputKind] = "numbers"

    def __init__(self, init: Init = "default", **options: Any) -> None:
        check_choice(type(self).__name__, "init", init, get_args(Init))
        self.init = init
        super().__init__(**options)

    def make_layers(self, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
        """Return one linear layer: (B, *input_shape) -> (B, num_outputs)."""
        output = nn.Linear(prod(input_shape), num_outputs)
        layers = nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=output))
        initialise(layers, self.init)
        return layers

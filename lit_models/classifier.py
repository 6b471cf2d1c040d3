"""Base class of classifiers: loss, metrics, and one or several logits.

Shapes: B batch, N examples of an epoch, C classes.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Literal, get_args

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from ablation_suite.argument_checks import check_argument_names, check_choice
from lit_models.losses import Loss, classification_loss, parse_loss_weights
from lit_models.metrics import accuracy, auroc, f1
from lit_models.network import Batch, Network, Outputs, Split

Head = Literal["softmax", "sigmoid"]


class Classifier(Network):
    """Base class of classifiers, shipped or your own. Every split logs loss and accuracy.

    For two classes, validation and test also log F1 and the area under the ROC curve of class 1, over all examples (of
    all loaders of the split, on one device).

    The loss is cross-entropy unless `loss` names another or several with weights; val/loss and test/loss are the same
    loss. If `loss` is given, every split also logs cross_entropy: values of different losses cannot be compared, but
    networks trained with them can, by cross_entropy or acc.

    The layers are built as soon as the sizes are known: in the constructor if `input_shape` and `num_classes` are
    given, otherwise when the Trainer starts, from the data module's attributes of the same names. A network for token
    ids also has a `vocabulary_size`, which works in the same way. See `Network` for this and for penalties.

    `head="sigmoid"` has a single output z for two classes and trains with binary cross-entropy. `forward` then returns
    the logits (0, z), whose softmax is (1 - sigmoid(z), sigmoid(z)) and whose cross-entropy is the binary one, so code
    that uses logits does not depend on the head.

    Args:
        optimizer: a function from the parameters to an optimizer.
        lr_scheduler: a function from the optimizer to a scheduler of its learning rate, which steps after each epoch;
            None keeps the rate constant.
        head: softmax has one logit per class; sigmoid has one logit for two classes.
        loss: cross_entropy, nll, mse, l1 or bce, see `classification_loss`, or a weight for each of several; None is
            cross_entropy.
        l1: the factor of the sum of absolute weights in the loss; None for no penalty.
        l2: the factor of half the sum of squared weights in the loss; None for no penalty.
        input_shape: the shape of one example, such as (1, 28, 28); None takes the data module's.
        num_classes: the number of classes; None takes the data module's.
        **sizes: further sizes of the layers that the data module has: `vocabulary_size` of a network for token ids, an
            argument of the subclass that is None by default.

    Raises:
        ValueError: an argument is not accepted, or `head` is sigmoid and there are not two classes.
        TypeError: a size is not an argument of the subclass.

    >>> class Flat(Classifier):
    ...     def make_layers(self, input_shape, num_outputs):
    ...         return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0] * input_shape[1], num_outputs))
    >>> Flat(input_shape=(8, 8), num_classes=10)(torch.zeros(32, 8, 8)).shape
    torch.Size([32, 10])
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
        head: Head = "softmax",
        loss: Loss | dict[Loss, float] | None = None,
        l1: float | None = None,
        l2: float | None = None,
        input_shape: Sequence[int] | None = None,
        num_classes: int | None = None,
        **sizes: int | None,
    ) -> None:
        owner = type(self).__name__
        check_choice(owner, "head", head, get_args(Head))
        check_argument_names(owner, sizes, _list_arguments(type(self)))
        self.head = head
        self.loss_weights = parse_loss_weights(owner, "cross_entropy" if loss is None else loss, Loss)
        self.is_loss_named = loss is not None
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            l1=l1,
            l2=l2,
            sizes={"input_shape": input_shape, "num_classes": num_classes, **sizes},
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits. inputs: (B, *input_shape) -> (B, C).

        Raises:
            RuntimeError: the layers are not built yet.
            ValueError: the inputs are not of the network's `input_kind`.
        """
        logits = super().forward(inputs)
        return logits if self.head == "softmax" else nn.functional.pad(logits, (1, 0))

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the metrics of an epoch that are not means over batches: F1 and AUROC for two classes.

        Args:
            split: the prefix of the metrics' names.
            outputs: the tensors that the split's step returned, over all batches: logits (N, 2) and target (N,).
        """
        if not {"logits", "target"} <= outputs.keys():
            return {}
        logits, target = outputs["logits"], outputs["target"]
        return {f"{split}/f1": f1(logits, target), f"{split}/auroc": auroc(logits, target)}

    def shared_step(self, batch: Batch, split: Split) -> tuple[Tensor, Tensor]:
        """Log metrics of a batch and return its loss, a scalar, and logits (B, C).

        batch: inputs (B, *input_shape) and target (B,), int64.
        """
        inputs, target = batch
        logits = self(inputs)
        loss = classification_loss(self.loss_weights, logits, target, has_one_logit=self.head == "sigmoid")
        metrics = {f"{split}/loss": loss, f"{split}/acc": accuracy(logits, target)}
        if self.is_loss_named:
            metrics[f"{split}/cross_entropy"] = nn.functional.cross_entropy(logits, target)
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(target))
        return loss, logits

    def _num_layer_outputs(self, size: int) -> int:
        if self.head == "softmax":
            return size
        if size != 2:  # noqa: PLR2004
            raise ValueError(
                f"{type(self).__name__}: head is 'sigmoid', one logit for two classes, and num_classes is {size}; "
                "accepted: num_classes 2, or head 'softmax'"
            )
        return 1

    def shared_eval_step(self, batch: Batch, split: Literal["val", "test"]) -> Tensor | Outputs:
        """Log loss and accuracy of a batch and return the loss and, for two classes, logits (B, 2) and target (B,).

        For more classes, test also returns correct (B,), bool, and target (B,); validation returns only the loss.
        """
        loss, logits = self.shared_step(batch, split)
        target = batch[1]
        if logits.shape[1] == 2:  # noqa: PLR2004
            return {"loss": loss, "logits": logits, "target": target}
        if split == "val":
            return loss
        return {
            "loss": loss,
            "correct": logits.argmax(1) == target,
            "target": target,
        }  # one byte per example, unlike logits


def _list_arguments(kind: type[Network]) -> list[str]:
    """Return the argument names in the constructors of a class and its bases."""
    constructors = [vars(base).get("__init__") for base in kind.__mro__ if issubclass(base, Network)]
    parameters = [each for init in constructors if init is not None for each in signature(init).parameters.values()]
    return [parameter.name for parameter in parameters if parameter.kind != parameter.VAR_KEYWORD]

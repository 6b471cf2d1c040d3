"""What all classifiers share: the loss, the metrics, and one or several logits.

Shapes: B batch, N examples of an epoch, C classes.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Literal, get_args

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from ablation_suite.argument_checks import check_choice, check_known
from lit_models.losses import Loss, classification_loss, loss_weights
from lit_models.metrics import accuracy, auroc, f1
from lit_models.network import Batch, Network, Outputs, Split

Head = Literal["softmax", "sigmoid"]


class Classifier(Network):
    """A network that tells classes apart, and its accuracy: the base of every classifier here, and of yours.

    Of two classes, validation and test log F1 and the area under the ROC curve of class 1 too, over all their examples
    (of all their loaders together, on one device).

    It is trained with cross-entropy unless `loss` names another or several with weights; val/loss and test/loss are
    that loss. Once a loss is named, whichever it is, every split logs cross_entropy too: losses of different kinds
    cannot be compared, and networks trained with them can be by this or by acc.

    The layers are built as soon as the sizes of inputs and classes are known: at once when `input_shape` and
    `num_classes` are given, otherwise when the Trainer starts, from the data module's attributes of the same names. A
    network for token ids also has a `vocabulary_size`, which works in the same way. More on that and on penalties: see
    `Network`.

    Two classes need no two outputs: `head="sigmoid"` has one, z, and trains with binary cross-entropy. `forward`
    returns (0, z) for it, the logits whose softmax is (1 - sigmoid(z), sigmoid(z)) and whose cross-entropy is the
    binary one; so whatever reads logits need not know the head.

    Args:
        optimizer: from the parameters to their optimizer.
        lr_scheduler: from the optimizer to a schedule of its learning rate, which advances after each epoch; None keeps
            the rate.
        head: softmax has one logit a class; sigmoid has one for two classes.
        loss: cross_entropy, nll, mse, l1 or bce, see `classification_loss`, or a weight for each of several; None for
            cross_entropy.
        l1: the weight of the sum of absolute weights in the loss; None for no penalty.
        l2: the weight of half the sum of squared weights in the loss, likewise.
        input_shape: the shape of one example, such as (1, 28, 28); None asks the data module.
        num_classes: the number of classes; None asks the data module.
        **sizes: further ones that the layers are made from and the data module knows; a network for token ids gives
            its own argument `vocabulary_size`, None by default.

    Raises:
        ValueError: an argument is not accepted, or `head="sigmoid"` with other than two classes.
        TypeError: a size that is no argument of the subclass.

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
        check_known(owner, sizes, _arguments_of(type(self)))
        self.head = head
        self.loss_weights = loss_weights(owner, "cross_entropy" if loss is None else loss, Loss)
        self.is_loss_named = loss is not None
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            l1=l1,
            l2=l2,
            sizes={"input_shape": input_shape, "num_classes": num_classes, **sizes},
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits. inputs: (B, *input_shape) -> (B, C).

        Raises:
            RuntimeError: the layers are not built yet.
            ValueError: the inputs are not what the network `reads`.
        """
        logits = super().forward(inputs)
        return logits if self.head == "softmax" else nn.functional.pad(logits, (1, 0))

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What is measured over an epoch as a whole: of two classes, F1 and the area under the ROC curve.

        Arguments:
            split: the first part of the names.
            outputs: what the split's step returned of each example, over all batches: logits (N, 2) and target (N,).
        """
        if not {"logits", "target"} <= outputs.keys():
            return {}
        logits, target = outputs["logits"], outputs["target"]
        return {f"{split}/f1": f1(logits, target), f"{split}/auroc": auroc(logits, target)}

    def shared_step(self, batch: Batch, split: Split) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the logits (B, C). batch: inputs (B, *input_shape) and target (B,), int64."""
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
        """Log loss and accuracy of a batch. Return loss and, by example, logits (B, 2) and target (B,) of two classes.

        Of more classes, test returns correct (B,), bool, and target (B,), and validation the loss only.
        """
        loss, logits = self.shared_step(batch, split)
        target = batch[1]
        if logits.shape[1] == 2:  # noqa: PLR2004
            return {"loss": loss, "logits": logits, "target": target}
        if split == "val":
            return loss
        return {"loss": loss, "correct": logits.argmax(1) == target, "target": target}  # a byte an example, not logits


def _arguments_of(kind: type[Network]) -> list[str]:
    """The names that the constructors of a class and its bases write out."""
    constructors = [vars(base).get("__init__") for base in kind.__mro__ if issubclass(base, Network)]
    parameters = [each for init in constructors if init is not None for each in signature(init).parameters.values()]
    return [parameter.name for parameter in parameters if parameter.kind != parameter.VAR_KEYWORD]

"""What all classifiers share: when the layers are built, the loss, the metrics and the optimizer.

Shapes: B batch, C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lit_models.arguments import check_choice, check_integer, check_integers
from lit_models.inputs import Reads, check_inputs
from lit_models.metrics import accuracy, auroc, f1

MakeLayers = Callable[..., nn.Module]
Head = Literal["softmax", "sigmoid"]
Batch = tuple[Tensor, Tensor]
Outputs = dict[str, Tensor]


class Classifier(LightningModule):
    """A network trained with cross-entropy, and its accuracy: the base of every network here, and of yours.

    Of two classes, validation and test log F1 and the area under the ROC curve of class 1 too, over all their examples
    (of all their loaders together, on one device).

    The layers are built as soon as the sizes of inputs and classes are known: at once when `input_shape` and
    `num_classes` are given, otherwise when the Trainer starts, from the data module's attributes of the same names.
    So a configuration need not repeat what the data already say. `load_from_checkpoint` rebuilds the layers either way.
    A network for token ids also has a `vocabulary_size`, which works in the same way.

    Two classes need no two outputs: `head="sigmoid"` has one, z, and trains with binary cross-entropy. `forward`
    returns (0, z) for it, the logits whose softmax is (1 - sigmoid(z), sigmoid(z)) and whose cross-entropy is the
    binary one; so whatever reads logits need not know the head.

    The steps read nothing but their batch and the parameters and keep nothing (what an epoch's metrics need, they
    return), so they also run on many stacked copies under `torch.func.vmap`. For the same reason the recipe for the
    layers is let go once they are built: what two networks differ in is then their layers, not how they were asked for.

    Args:
        make_layers: from (input_shape, num_outputs), and further sizes by name, to a module (B, *input_shape) ->
            (B, num_outputs), the logits: one for each class, or a single one with `head="sigmoid"`. A subclass gives
            it, with its own arguments bound by `functools.partial`.
        optimizer: from the parameters to their optimizer.
        lr_scheduler: from the optimizer to a schedule of its learning rate, which advances after each epoch; None keeps
            the rate.
        head: softmax has one logit a class; sigmoid has one for two classes.
        input_shape: the shape of one example, such as (1, 28, 28).
        num_classes: the number of classes.
        **sizes: further ones that the layers are made from and the data module knows; a network for token ids gives
            its own argument `vocabulary_size`, None by default.

    Attributes:
        reads: what the inputs have to be, "numbers" or "tokens"; a subclass that says so gets a clear error for others.

    Raises:
        ValueError: a size is no positive integer, or `head="sigmoid"` with other than two classes.

    >>> class Flat(Classifier):
    ...     def __init__(self, input_shape=None, num_classes=None):
    ...         super().__init__(flat_layers, input_shape=input_shape, num_classes=num_classes)
    >>> def flat_layers(input_shape, num_outputs):
    ...     return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0] * input_shape[1], num_outputs))
    >>> Flat(input_shape=(8, 8), num_classes=10)(torch.zeros(32, 8, 8)).shape
    torch.Size([32, 10])
    """

    reads: ClassVar[Reads] = "anything"

    def __init__(
        self,
        make_layers: MakeLayers,
        *,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
        head: Head = "softmax",
        input_shape: Sequence[int] | None = None,
        num_classes: int | None = None,
        **sizes: int | None,
    ) -> None:
        check_choice(type(self).__name__, "head", head, get_args(Head))
        super().__init__()
        # The arguments of subclasses too: Lightning gathers them from the calls that led here.
        self.save_hyperparameters(ignore=["make_layers", "optimizer", "lr_scheduler"])
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.head = head
        self._outputs: list[Outputs] = []
        self._make_layers: MakeLayers | None = make_layers
        given: dict[str, Any] = {"input_shape": input_shape, "num_classes": num_classes, **sizes}
        self._sizes = tuple(given)
        if None not in given.values():
            self._build(given)

    def configure_model(self) -> None:
        """Build the layers for the Trainer's data module, unless they are there; Lightning calls this.

        Raises:
            RuntimeError: the sizes are neither given nor known from a data module; the message says what to add.
        """
        if self._make_layers is None:
            return
        self._build({name: self._size(name) for name in self._sizes})

    def check_data(self, data: object) -> None:
        """Raise unless the network can read what a data module gives, as far as the two say so before training.

        Args:
            data: a data module; `vocabulary_size`, where it has one, is None for numbers.

        Raises:
            ValueError: numbers for token ids, token ids for numbers, or more ids than the network has.
        """
        if not hasattr(data, "vocabulary_size"):
            return
        owner, source, size = type(self).__name__, type(data).__name__, data.vocabulary_size
        if self.reads == "tokens" and size is None:
            raise ValueError(f"{owner} reads token ids, and {source} gives numbers; `representation: tokens` gives ids")
        if self.reads == "numbers" and size is not None:
            raise ValueError(
                f"{owner} reads numbers, and {source} gives token ids; `representation: bag_of_words` gives numbers, "
                "and lit_models.MeanEmbedding, TextConvNet and Recurrent read ids"
            )
        own = self.hparams.get("vocabulary_size")
        if self.reads == "tokens" and own is not None and own < size:
            raise ValueError(f"{owner}: vocabulary_size is {own}, and {source} has {size} ids; null takes the data's")

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits. inputs: (B, *input_shape) -> (B, C).

        Raises:
            RuntimeError: the layers are not built yet.
            ValueError: the inputs are not what the network `reads`.
        """
        if self._make_layers is not None:
            *others, last = self._sizes
            raise RuntimeError(
                f"{type(self).__name__}: the layers are not built yet; give {', '.join(others)} and {last}, "
                "or train it with a Trainer and a data module that has them"
            )
        check_inputs(type(self).__name__, self.reads, inputs)
        logits: Tensor = self.layers(inputs)
        return logits if self.head == "softmax" else nn.functional.pad(logits, (1, 0))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # Lightning's signature
        """The mean cross-entropy of a batch, a scalar. batch: inputs (B, *input_shape) and target (B,), int64."""
        loss, _ = self._measure(batch, "train")
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor | Outputs:  # Lightning's signature
        """As `training_step`; logs val/loss and val/acc. Of two classes, what `epoch_metrics` needs is returned too."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor | Outputs:  # Lightning's signature
        """As `validation_step`, with test/loss and test/acc. Returned is also which examples are right, in some form.

        Of two classes that is logits (B, 2) and target (B,), otherwise correct (B,), bool, and target (B,).
        """
        return self._evaluate(batch, "test")

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What is measured over an epoch as a whole: of two classes, F1 and the area under the ROC curve.

        The hooks below do nothing but log it, so what trains many networks in one loop can call it for each instead. A
        subclass may measure something else, from what its own steps return.

        Arguments:
            split: the first part of the names.
            outputs: what the split's step returned of each example, over all batches: logits (N, 2) and target (N,).
        """
        if not {"logits", "target"} <= outputs.keys():
            return {}
        logits, target = outputs["logits"], outputs["target"]
        return {f"{split}/f1": f1(logits, target), f"{split}/auroc": auroc(logits, target)}

    def on_validation_epoch_start(self) -> None:
        """Forget what an interrupted validation left."""
        self._outputs = []

    def on_validation_batch_end(
        self, outputs: Tensor | Mapping[str, Any] | None, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep what the step returned of each example: nothing, unless there are two classes."""
        self._keep(outputs, batch)

    def on_validation_epoch_end(self) -> None:
        """Log `epoch_metrics`: val/f1 and val/auroc, of two classes."""
        self._log_epoch_metrics("val")

    def on_test_epoch_start(self) -> None:
        """Forget what an interrupted test left."""
        self._outputs = []

    def on_test_batch_end(
        self, outputs: Tensor | Mapping[str, Any] | None, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep what the step returned of each example, for `epoch_metrics`."""
        self._keep(outputs, batch)

    def on_test_epoch_end(self) -> None:
        """Log `epoch_metrics`: test/f1 and test/auroc, of two classes."""
        self._log_epoch_metrics("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer given, over all parameters, and the schedule if there is one.

        A schedule that watches a metric (ReduceLROnPlateau) watches the one that it names as its `monitor`, and without
        a name val/loss.
        """
        optimizer = self.optimizer(self.parameters())
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            watched = getattr(scheduler, "monitor", "val/loss")
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": watched}}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}

    def _evaluate(self, batch: Batch, split: Literal["val", "test"]) -> Tensor | Outputs:
        loss, logits = self._measure(batch, split)
        target = batch[1]
        if logits.shape[1] == 2:  # noqa: PLR2004
            return {"loss": loss, "logits": logits, "target": target}
        if split == "val":
            return loss
        return {"loss": loss, "correct": logits.argmax(1) == target, "target": target}  # a byte an example, not logits

    def _measure(self, batch: Batch, split: Literal["train", "val", "test"]) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the logits (B, C)."""
        inputs, target = batch
        logits = self(inputs)
        loss = nn.functional.cross_entropy(logits, target)
        metrics = {f"{split}/loss": loss, f"{split}/acc": accuracy(logits, target)}
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(target))
        return loss, logits

    def _keep(self, outputs: Tensor | Mapping[str, Any] | None, batch: Batch) -> None:
        if not isinstance(outputs, Mapping):
            return
        tensors = {name: value.detach() for name, value in outputs.items() if isinstance(value, Tensor)}
        num_examples = len(batch[1])
        self._outputs.append({name: x for name, x in tensors.items() if x.dim() > 0 and len(x) == num_examples})

    def _log_epoch_metrics(self, split: Literal["val", "test"]) -> None:
        batches, self._outputs = self._outputs, []
        if batches:
            whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
            self.log_dict(dict(self.epoch_metrics(split, whole)))

    def _size(self, name: str) -> Any:
        given = self.hparams.get(name)
        if given is not None:
            return given
        owner = type(self).__name__
        data = getattr(self._trainer, "datamodule", None)
        if data is None:
            raise RuntimeError(f"{owner}: {name} is not known; give it, or train with a data module that has it")
        if (found := getattr(data, name, None)) is None:
            advice = _ADVICE.get(name, "add the attribute")
            raise RuntimeError(
                f"{owner}: the data module {type(data).__name__} has no {name}; {advice}, or give {owner} its {name}"
            )
        return found

    def _build(self, sizes: Mapping[str, Any]) -> None:
        assert self._make_layers is not None
        owner = type(self).__name__
        for name, size in sizes.items():
            (check_integers if name == "input_shape" else check_integer)(owner, name, size)
        input_shape, num_classes, further = sizes["input_shape"], sizes["num_classes"], dict(sizes)
        del further["input_shape"], further["num_classes"]
        if self.head == "sigmoid" and num_classes != 2:  # noqa: PLR2004  # one logit tells two classes apart
            raise ValueError(
                f"{owner}: head is 'sigmoid', one logit for two classes, and num_classes is {num_classes}; "
                "accepted: num_classes 2, or head 'softmax'"
            )
        self.layers = self._make_layers(input_shape, num_classes if self.head == "softmax" else 1, **further)
        self._make_layers = None
        # Checkpoints and loggers store these, and `load_from_checkpoint` builds from them; a list is plain YAML.
        self.save_hyperparameters({**sizes, "input_shape": list(input_shape)})


_ADVICE = {
    "input_shape": "add the attribute, such as `input_shape = (1, 28, 28)`",
    "num_classes": "add the attribute, such as `num_classes = 10`",
    "vocabulary_size": "this network reads token ids; a text data module with `representation: tokens` has it",
}
"""What to do where a data module lacks a size."""

"""What networks of every task share: when the layers are built, penalties, metrics of an epoch, and the optimizer.

Shapes: B batch, N examples of an epoch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from ablation_suite.argument_checks import check_integer, check_integers, check_penalty
from lit_models.input_kinds import InputKind, check_inputs

Batch = tuple[Tensor, Tensor]
Outputs = dict[str, Tensor]
Split = Literal["train", "val", "test"]


class Network(LightningModule):
    """Base of `Classifier` and `Regressor`, which compute loss and metrics of a batch.

    A subclass overrides `make_layers`. Network calls it as soon as all sizes are known: in the constructor if they are
    given, otherwise when the Trainer starts, with the data module's attributes of the same names. A configuration need
    not repeat them. `load_from_checkpoint` rebuilds the layers in both cases.

    A subclass with arguments assigns those that `make_layers` reads *before* it calls `super().__init__()`, which may
    build the layers. `self.hparams` does not serve here: it holds the arguments of the most derived class, and under
    LightningCLI only those.

    The steps read only their batch, parameters and buffers and store nothing (they return what the metrics of an epoch
    need), so they also run on many stacked copies under `torch.func.vmap`.

    `l1` and `l2` add l1 sum(abs(w)) + l2 / 2 sum(w^2) to the loss that is trained on, over all weights: parameters of
    two axes or more, so no biases and no batch norm. It is logged apart, as train/penalty; train/loss, val/loss and
    test/loss are without it. With SGD, l2 is the optimizer's weight_decay of the same number (which also takes biases);
    with Adam it is what Adam calls weight_decay, and not the decoupled one of AdamW (Loshchilov & Hutter 2019). The
    numbers are a buffer, so that networks with others can be stacked; 0 is computed like any other and stacks with
    them, and None computes nothing.

    Args:
        optimizer: from the parameters to their optimizer.
        lr_scheduler: from the optimizer to a schedule of its learning rate, which advances after each epoch; None keeps
            the rate.
        l1: the weight of the sum of absolute weights in the loss; None for no penalty.
        l2: the weight of half the sum of squared weights, likewise.
        sizes: name -> value or None: `input_shape`, then `num_classes` or `num_outputs`, then further counts.

    Attributes:
        input_kind: "numbers" or "tokens"; inputs of the other kind raise an error. "anything" checks nothing.

    Raises:
        ValueError: a size is no positive integer, or a penalty is negative.
    """

    input_kind: ClassVar[InputKind] = "anything"
    penalties: Tensor | None

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        l1: float | None,
        l2: float | None,
        sizes: Mapping[str, Any],
    ) -> None:
        owner = type(self).__name__
        check_penalty(owner, "l1", l1)
        check_penalty(owner, "l2", l2)
        super().__init__()
        # The arguments of subclasses too: Lightning gathers them from the calls that led here.
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler", "sizes"])
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self._outputs: list[Outputs] = []
        self._sizes = tuple(sizes)
        is_penalised = l1 is not None or l2 is not None
        rates = torch.tensor([l1 or 0.0, l2 or 0.0]) if is_penalised else None
        self.register_buffer("penalties", rates, persistent=False)  # a hyperparameter; checkpoints have it as such
        if None not in sizes.values():
            self._build(sizes)

    def make_layers(self, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
        """Return the layers: (B, *input_shape) -> (B, num_outputs). Further sizes are in `self.hparams` by then."""
        raise NotImplementedError(f"{type(self).__name__}: write make_layers(self, input_shape, num_outputs)")

    def shared_step(self, batch: Batch, split: Split) -> tuple[Tensor, Tensor]:
        """Log the metrics of a batch, and return its loss, a scalar, and the network's outputs (B, ...)."""
        raise NotImplementedError(f"{type(self).__name__}: write shared_step(self, batch, split)")

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What is measured over an epoch as a whole.

        The hooks below do nothing but log it, so what trains many networks in one loop can call it for each instead. A
        subclass may measure something else, from what its own steps return.

        Arguments:
            split: the first part of the names.
            outputs: what the split's step returned of each example (N, ...), over all batches.
        """
        return {}

    def configure_model(self) -> None:
        """Build the layers for the Trainer's data module, unless they are there; Lightning calls this.

        Raises:
            RuntimeError: the sizes are neither given nor known from a data module; the message says what to add.
        """
        if not hasattr(self, "layers"):
            self._build({name: self._size(name) for name in self._sizes})

    def check_data(self, data: object) -> None:
        """Raise unless the network can read and train on what a data module gives, as far as that is known before.

        Args:
            data: a data module; `vocabulary_size`, where it has one, is None for numbers.

        Raises:
            ValueError: numbers for token ids or classes, token ids or classes for numbers, more ids than the network
                has, or batch norm over batches of one example.
        """
        owner, source = type(self).__name__, type(data).__name__
        if getattr(data, "batch_size", None) == 1 and any(isinstance(each, nn.BatchNorm1d) for each in self.modules()):
            raise ValueError(
                f"{owner}: batch_norm compares the examples of a batch, and {source} has batch_size 1; "
                "accepted: batches of at least 2, or batch_norm false"
            )
        for size, (kind, example) in _TARGETS.items():
            if hasattr(data, size) and not hasattr(data, self._sizes[1]):
                raise ValueError(
                    f"{owner} predicts {_TARGETS[self._sizes[1]][0]}, and the targets of {source} are {kind}; "
                    f"lit_models.{example} predicts {kind}"
                )
        if not hasattr(data, "vocabulary_size"):
            return
        size = data.vocabulary_size
        if self.input_kind == "tokens" and size is None:
            raise ValueError(f"{owner} reads token ids, and {source} gives numbers; `representation: tokens` gives ids")
        if self.input_kind == "numbers" and size is not None:
            raise ValueError(
                f"{owner} reads numbers, and {source} gives token ids; `representation: bag_of_words` gives numbers, "
                "and lit_models.MeanEmbedding, TextConvNet and Recurrent read ids"
            )
        own = self.hparams.get("vocabulary_size")
        if self.input_kind == "tokens" and own is not None and own < size:
            raise ValueError(f"{owner}: vocabulary_size is {own}, and {source} has {size} ids; null takes the data's")

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs of the layers. inputs: (B, *input_shape) -> (B, ...).

        Raises:
            RuntimeError: the layers are not built yet.
            ValueError: the inputs are not what the network `reads`.
        """
        if not hasattr(self, "layers"):
            *others, last = self._sizes
            raise RuntimeError(
                f"{type(self).__name__}: the layers are not built yet; give {', '.join(others)} and {last}, "
                "or train it with a Trainer and a data module that has them"
            )
        check_inputs(type(self).__name__, self.input_kind, inputs)
        outputs: Tensor = self.layers(inputs)
        return outputs

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # Lightning's signature
        """The mean loss of a batch, a scalar, and with it the penalty if there is one.

        batch: inputs (B, *input_shape) and target (B, ...).
        """
        loss, _ = self.shared_step(batch, "train")
        if self.penalties is None:
            return loss
        penalty = self._penalty(self.penalties.to(loss.dtype))
        self.log_dict({"train/penalty": penalty}, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return loss + penalty

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor | Outputs:  # Lightning's signature
        """Return `shared_eval_step` of a validation batch."""
        return self.shared_eval_step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor | Outputs:  # Lightning's signature
        """Return `shared_eval_step` of a test batch."""
        return self.shared_eval_step(batch, "test")

    def shared_eval_step(self, batch: Batch, split: Literal["val", "test"]) -> Tensor | Outputs:
        """Log the metrics of a batch and return its loss, with the tensors (B, ...) that `epoch_metrics` needs."""
        return self.shared_step(batch, split)[0]

    def on_validation_epoch_start(self) -> None:
        """Forget what an interrupted validation left."""
        self._outputs = []

    def on_validation_batch_end(
        self, outputs: Tensor | Mapping[str, Any] | None, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep what the step returned of each example, for `epoch_metrics`."""
        self._keep(outputs, batch)

    def on_validation_epoch_end(self) -> None:
        """Log `epoch_metrics`."""
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
        """Log `epoch_metrics`."""
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

    def _penalty(self, rates: Tensor) -> Tensor:
        """Of all weights, a scalar. rates: (2,), of absolute and of squared ones."""
        weights = [parameter for parameter in self.parameters() if parameter.dim() > 1]
        absolute = torch.stack([weight.abs().sum() for weight in weights]).sum()
        squared = torch.stack([weight.square().sum() for weight in weights]).sum()
        return rates[0] * absolute + rates[1] / 2 * squared

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
        for name, size in sizes.items():
            (check_integers if name == "input_shape" else check_integer)(type(self).__name__, name, size)
        # Checkpoints and loggers store these, and `load_from_checkpoint` builds from them; a list is plain YAML.
        self.save_hyperparameters({**sizes, "input_shape": list(sizes["input_shape"])})
        self.layers = self.make_layers(sizes["input_shape"], self._num_layer_outputs(sizes[self._sizes[1]]))

    def _num_layer_outputs(self, size: int) -> int:
        """Return the number of outputs of the layers. size: num_classes or num_outputs."""
        return size


_TARGETS = {"num_classes": ("classes", "MLP"), "num_outputs": ("numbers", "MLPRegressor")}
"""Size -> the targets of a data module that has it, and a network that predicts them."""

_ADVICE = {
    "input_shape": "add the attribute, such as `input_shape = (1, 28, 28)`",
    "num_classes": "add the attribute, such as `num_classes = 10`",
    "num_outputs": "add the attribute, such as `num_outputs = 1`",
    "vocabulary_size": "this network reads token ids; a text data module with `representation: tokens` has it",
}
"""What to do where a data module lacks a size."""

"""Base class of all networks: building of layers, penalties, metrics of an epoch, and the optimizer.

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
    """Base class of `Classifier` and `Regressor`, which compute loss and metrics of a batch.

    A subclass overrides `make_layers`. Network calls it as soon as all sizes are known: in the constructor if they are
    given, otherwise when the Trainer starts, with the data module's attributes of the same names. A configuration need
    not repeat them. `load_from_checkpoint` rebuilds the layers in both cases.

    A subclass with arguments assigns those that `make_layers` reads *before* it calls `super().__init__()`, which may
    build the layers. `self.hparams` does not serve here: it holds the arguments of the most derived class, and under
    LightningCLI only those.

    The steps read only their batch, parameters and buffers and store nothing (they return what the metrics of an epoch
    need), so they also run on many stacked copies under `torch.func.vmap`.

    `l1` and `l2` add the penalty l1 sum(abs(w)) + l2 / 2 sum(w^2) to the training loss. The sums are over all weights:
    parameters with at least two axes, so neither biases nor batch norm. The penalty is logged as train/penalty and is
    not part of train/loss, val/loss and test/loss. l2 has the effect of SGD's weight_decay (which also applies to
    biases) and of Adam's, not of AdamW's decoupled one (Loshchilov & Hutter 2019). The factors are a buffer, so that
    networks with different factors, 0 included, can be stacked. None computes no penalty.

    Args:
        optimizer: see `Classifier`.
        lr_scheduler: see `Classifier`.
        l1: the factor of the sum of absolute weights in the loss; None for no penalty.
        l2: the factor of half the sum of squared weights in the loss; None for no penalty.
        sizes: name -> value or None: `input_shape`, then `num_classes` or `num_outputs`, then further counts.

    Attributes:
        input_kind: "numbers" or "tokens"; inputs of the other kind raise an error. "anything" checks nothing.

    Raises:
        ValueError: a size is not a positive integer, or a penalty is negative.
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
        # With the arguments of subclasses: Lightning collects them from the calling frames.
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler", "sizes"])
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self._outputs: list[Outputs] = []
        self._sizes = tuple(sizes)
        is_penalised = l1 is not None or l2 is not None
        rates = torch.tensor([l1 or 0.0, l2 or 0.0]) if is_penalised else None
        self.register_buffer("penalties", rates, persistent=False)  # checkpoints have hparams
        if None not in sizes.values():
            self._build_layers(sizes)

    def make_layers(self, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
        """Return the layers: (B, *input_shape) -> (B, num_outputs). `self.hparams` has further sizes."""
        raise NotImplementedError(f"{type(self).__name__}: write make_layers(self, input_shape, num_outputs)")

    def shared_step(self, batch: Batch, split: Split) -> tuple[Tensor, Tensor]:
        """Log the metrics of a batch, and return its loss, a scalar, and the network's outputs (B, ...)."""
        raise NotImplementedError(f"{type(self).__name__}: write shared_step(self, batch, split)")

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the metrics of an epoch that are not means over batches.

        The hooks below only log them, so a trainer of many networks in one loop can call this method for each instead.
        A subclass may compute other metrics, from the tensors that its own steps return.

        Args:
            split: the prefix of the metrics' names.
            outputs: the tensors (N, ...) that the split's step returned, over all batches.
        """
        return {}

    def configure_model(self) -> None:
        """Build the layers for the Trainer's data module unless they exist. Lightning calls this.

        Raises:
            RuntimeError: a size is neither given nor an attribute of the data module; the message says what to add.
        """
        if not hasattr(self, "layers"):
            self._build_layers({name: self._find_size(name) for name in self._sizes})

    def check_data(self, data: object) -> None:
        """Raise unless the network can train on a data module's data, as far as its attributes show.

        Args:
            data: a data module; its `vocabulary_size`, if any, is None for numbers.

        Raises:
            ValueError: inputs or targets are of the wrong kind, there are more token ids than the network has, or
                batch norm would see batches of one example.
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
        given = self.hparams.get("vocabulary_size")
        if self.input_kind == "tokens" and given is not None and given < size:
            raise ValueError(f"{owner}: vocabulary_size is {given}, and {source} has {size} ids; null takes the data's")

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs of the layers. inputs: (B, *input_shape) -> (B, ...).

        Raises:
            RuntimeError: the layers are not built yet.
            ValueError: the inputs are not of the network's `input_kind`.
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
        """Return the mean loss of a batch, a scalar, plus the penalty if there is one.

        batch: inputs (B, *input_shape) and target (B, ...).
        """
        loss, _ = self.shared_step(batch, "train")
        if self.penalties is None:
            return loss
        penalty = self._compute_penalty(self.penalties.to(loss.dtype))
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
        """Discard the outputs of an interrupted validation."""
        self._outputs = []

    def on_validation_batch_end(
        self, outputs: Tensor | Mapping[str, Any] | None, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the tensors that the step returned, for `epoch_metrics`."""
        self._collect_outputs(outputs, batch)

    def on_validation_epoch_end(self) -> None:
        """Log `epoch_metrics`."""
        self._log_epoch_metrics("val")

    def on_test_epoch_start(self) -> None:
        """Discard the outputs of an interrupted test."""
        self._outputs = []

    def on_test_batch_end(
        self, outputs: Tensor | Mapping[str, Any] | None, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the tensors that the step returned, for `epoch_metrics`."""
        self._collect_outputs(outputs, batch)

    def on_test_epoch_end(self) -> None:
        """Log `epoch_metrics`."""
        self._log_epoch_metrics("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer over all parameters, and the scheduler if there is one.

        ReduceLROnPlateau monitors the metric that its `monitor` names, by default val/loss.
        """
        optimizer = self.optimizer(self.parameters())
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            monitor = getattr(scheduler, "monitor", "val/loss")
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor}}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}

    def _compute_penalty(self, rates: Tensor) -> Tensor:
        """Return the penalty on all weights, a scalar. rates: (2,), for absolute and squared weights."""
        weights = [parameter for parameter in self.parameters() if parameter.dim() > 1]
        absolute = torch.stack([weight.abs().sum() for weight in weights]).sum()
        squared = torch.stack([weight.square().sum() for weight in weights]).sum()
        return rates[0] * absolute + rates[1] / 2 * squared

    def _collect_outputs(self, outputs: Tensor | Mapping[str, Any] | None, batch: Batch) -> None:
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

    def _find_size(self, name: str) -> Any:
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

    def _build_layers(self, sizes: Mapping[str, Any]) -> None:
        for name, size in sizes.items():
            (check_integers if name == "input_shape" else check_integer)(type(self).__name__, name, size)
        # Checkpoints and loggers store these, and `load_from_checkpoint` builds from them; a list is plain YAML.
        self.save_hyperparameters({**sizes, "input_shape": list(sizes["input_shape"])})
        self.layers = self.make_layers(sizes["input_shape"], self._num_layer_outputs(sizes[self._sizes[1]]))

    def _num_layer_outputs(self, size: int) -> int:
        """Return the number of outputs of the layers. size: num_classes or num_outputs."""
        return size


_TARGETS = {"num_classes": ("classes", "MLP"), "num_outputs": ("numbers", "MLPRegressor")}
"""Size -> the kind of targets of a data module that has it, and a network that predicts them."""

_ADVICE = {
    "input_shape": "add the attribute, such as `input_shape = (1, 28, 28)`",
    "num_classes": "add the attribute, such as `num_classes = 10`",
    "num_outputs": "add the attribute, such as `num_outputs = 1`",
    "vocabulary_size": "this network reads token ids; a text data module with `representation: tokens` has it",
}
"""Advice in error messages if a data module lacks a size."""

"""Fully connected layers in a row."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ablation_suite.argument_checks import check_choice, check_integer, check_positive
from lit_models.activations import Activation
from lit_models.classifier import Classifier
from lit_models.fully_connected import FullyConnected
from lit_models.initialisation import Init
from lit_models.network import Batch
from lit_models.pretraining import all_inputs, batches_before_training, pretrain_layers

MLPInit = Literal[Init, "rbm"]

RBM_STD = 0.01
"""The deviation of the weights from which restricted Boltzmann machines start (Hinton 2012, section 8)."""


class MLP(FullyConnected, Classifier):
    """A multilayer perceptron: for each hidden layer linear, batch norm, activation, dropout; then a linear output.

    Args:
        hidden: the number of units of each hidden layer; [] leaves the output layer alone, a perceptron.
        activation: see `make_activation`.
        init: where weights and biases start, see `initialise`; unless asked, as in plain PyTorch. `rbm`: hidden layers
            of sigmoid units are pretrained before training begins, see `pretrain`; the output layer starts as with
            xavier.
        dropout: the probability with which a hidden unit is set to zero in training, 0 <= dropout < 1 (Srivastava et
            al. 2014); 0 builds no dropout layer.
        batch_norm: whether to normalise each hidden layer over the batch, before the activation (Ioffe & Szegedy 2015).
        pretraining_epochs: how often each layer sees each example with `init="rbm"`.
        pretraining_lr: the learning rate of that.
        options: optimizer, lr_scheduler, head, loss, l1, l2, input_shape and num_classes, see `Classifier`.

    Attributes:
        reconstruction: with `init="rbm"`, the mean squared error with which the machine of each hidden layer gives its
            input back, (number of hidden layers,), NaN until they are pretrained; training logs it as
            pretraining/reconstruction1 and so on. None otherwise. Checkpoints hold it, so that what was loaded is not
            pretrained again.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

    >>> MLP(hidden=[64], dropout=0.5, input_shape=(1, 8, 8), num_classes=10).layers
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (linear1): Linear(in_features=64, out_features=64, bias=True)
      (activation1): ReLU()
      (dropout1): Dropout(p=0.5, inplace=False)
      (output): Linear(in_features=64, out_features=10, bias=True)
    )
    """

    reconstruction: Tensor | None

    def __init__(
        self,
        hidden: Sequence[int] = (128,),
        *,
        activation: Activation = "relu",
        init: MLPInit = "default",
        dropout: float = 0.0,
        batch_norm: bool = False,
        pretraining_epochs: int = 10,
        pretraining_lr: float = 0.1,
        **options: Any,
    ) -> None:
        name = type(self).__name__
        check_choice(name, "init", init, get_args(MLPInit))
        check_integer(name, "pretraining_epochs", pretraining_epochs)
        check_positive(name, "pretraining_lr", pretraining_lr)
        if init == "rbm":
            _check_pretrainable(name, hidden, activation, batch_norm=batch_norm)
        self._has_rbm_init = init == "rbm"
        self._pretraining = (pretraining_epochs, pretraining_lr)
        super().__init__(
            hidden,
            activation=activation,
            init="xavier" if init == "rbm" else init,
            dropout=dropout,
            batch_norm=batch_norm,
            **options,
        )
        self.register_buffer("reconstruction", torch.full((len(hidden),), torch.nan) if init == "rbm" else None)

    def make_layers(self, input_shape: Sequence[int], num_outputs: int) -> nn.Module:
        """Return the initialised layers: (B, *input_shape) -> (B, num_outputs)."""
        layers = super().make_layers(input_shape, num_outputs)
        if self._has_rbm_init:
            for linear in self._hidden_layers(layers):
                nn.init.normal_(linear.weight, std=RBM_STD)
        return layers

    @property
    def awaits_pretraining(self) -> bool:
        """Whether the layers are still to be pretrained before they are trained."""
        return self.reconstruction is not None and bool(self.reconstruction.isnan().any())

    def on_fit_start(self) -> None:
        """Call `pretrain` with what the Trainer's data give before training, where that is still to be done.

        Raises:
            RuntimeError: several devices train.
        """
        if self.awaits_pretraining:
            self.pretrain(batches_before_training(type(self).__name__, self.trainer))

    def pretrain(self, batches: Iterable[Any]) -> None:
        """With `init="rbm"`, unless that is done: train each hidden layer in turn as a restricted Boltzmann machine.

        It changes parameters and the buffer `reconstruction` and nothing else, from the batches and
        `torch.initial_seed()`, and draws from no global generator: what trains many networks in one loop calls it for
        each before it begins. Layers and method: see `pretrain_layers`.

        Args:
            batches: of (inputs, target), inputs (B, *input_shape), read once; targets are not looked at.

        Raises:
            ValueError: there are no batches, or their inputs are token ids, all equal or not finite.
            TypeError: they are something else.
        """
        if not self.awaits_pretraining:
            return
        assert self.reconstruction is not None
        name, (epochs, lr) = type(self).__name__, self._pretraining
        layers = self._hidden_layers(self.layers)
        inputs = all_inputs(name, batches, like=layers[0].weight)
        errors = pretrain_layers(name, layers, inputs, epochs=epochs, lr=lr, seed=torch.initial_seed())
        self.reconstruction.copy_(errors)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # Lightning's signature
        """As every classifier's; logs too how well pretrained layers gave their input back before training."""
        loss = super().training_step(batch, batch_idx)
        if self.reconstruction is not None:
            errors = {f"pretraining/reconstruction{at}": error for at, error in enumerate(self.reconstruction, start=1)}
            self.log_dict(errors, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return loss

    def _hidden_layers(self, layers: nn.Module) -> list[Any]:
        return [layers.get_submodule(f"linear{number}") for number in range(1, len(self.hidden) + 1)]


def _check_pretrainable(owner: str, hidden: Sequence[int], activation: str, *, batch_norm: bool) -> None:
    """Raise unless the hidden layers compute what restricted Boltzmann machines do."""
    if not hidden:
        raise ValueError(
            f"{owner}: init is 'rbm', which pretrains hidden layers, and hidden is []; accepted: one or more"
        )
    if activation != "sigmoid":
        raise ValueError(
            f"{owner}: init is 'rbm', whose hidden units are on with the probability that a sigmoid gives, and "
            f"activation is {activation!r}; accepted: activation 'sigmoid', or another init"
        )
    if batch_norm:
        raise ValueError(
            f"{owner}: init is 'rbm', and batch_norm would undo what the layers have learnt before it; "
            "accepted: batch_norm false, or another init"
        )

"""A multilayer perceptron, optionally pretrained as restricted Boltzmann machines."""

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
from lit_models.pretraining import gather_inputs, get_pretraining_batches, pretrain_layers

MLPInit = Literal[Init, "rbm"]

RBM_STD = 0.01
"""Standard deviation of the initial weights of restricted Boltzmann machines (Hinton 2012, section 8)."""


class MLP(FullyConnected, Classifier):
    """A multilayer perceptron: for each hidden layer linear, batch norm, activation, dropout; then a linear output.

    Args:
        hidden: the number of units of each hidden layer; [] leaves only the output layer, a perceptron.
        activation: see `make_activation`.
        init: initial values of weights and biases, see `initialise`; PyTorch's by default. rbm pretrains hidden layers
            of sigmoid units before training, see `pretrain`, and initialises the output layer as xavier does.
        dropout: the probability with which a hidden unit is set to zero in training, 0 <= dropout < 1 (Srivastava et
            al. 2014); 0 builds no dropout layer.
        batch_norm: whether to normalise each hidden layer over the batch, before the activation (Ioffe & Szegedy 2015).
        pretraining_epochs: the epochs of each layer's pretraining with `init="rbm"`.
        pretraining_lr: the learning rate of pretraining.
        options: optimizer, lr_scheduler, head, loss, l1, l2, input_shape and num_classes, see `Classifier`.

    Attributes:
        reconstruction: with `init="rbm"`, the mean squared error of each hidden layer's reconstruction of its input,
            (number of hidden layers,), NaN before pretraining. Training logs it as pretraining/reconstruction1 and so
            on. Checkpoints contain it, so that a loaded network is not pretrained again. Otherwise None.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

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
    def is_pretraining_pending(self) -> bool:
        """Return True if the layers must be pretrained before training."""
        return self.reconstruction is not None and bool(self.reconstruction.isnan().any())

    def on_fit_start(self) -> None:
        """Call `pretrain` with the Trainer's data if that is pending.

        Raises:
            RuntimeError: several devices train.
        """
        if self.is_pretraining_pending:
            self.pretrain(get_pretraining_batches(type(self).__name__, self.trainer))

    def pretrain(self, batches: Iterable[Any]) -> None:
        """Train each hidden layer in turn as a restricted Boltzmann machine, unless `init` is not rbm or it was done.

        The result depends only on the batches and `torch.initial_seed()`. Only parameters and the buffer
        `reconstruction` change, and no global generator is used, so a trainer of many networks in one loop can call
        this for each of them before it begins. For the method see `pretrain_layers`.

        Args:
            batches: batches of (inputs, target), inputs (B, *input_shape), read once; targets are ignored.

        Raises:
            ValueError: there are no batches, or their inputs are token ids, all equal or not finite.
            TypeError: the batches have another form.
        """
        if not self.is_pretraining_pending:
            return
        assert self.reconstruction is not None
        name, (epochs, lr) = type(self).__name__, self._pretraining
        layers = self._hidden_layers(self.layers)
        inputs = gather_inputs(name, batches, like=layers[0].weight)
        errors = pretrain_layers(name, layers, inputs, epochs=epochs, lr=lr, seed=torch.initial_seed())
        self.reconstruction.copy_(errors)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # Lightning's signature
        """Return the loss as other classifiers do, and log the reconstruction errors of pretraining."""
        loss = super().training_step(batch, batch_idx)
        if self.reconstruction is not None:
            errors = {f"pretraining/reconstruction{at}": error for at, error in enumerate(self.reconstruction, start=1)}
            self.log_dict(errors, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return loss

    def _hidden_layers(self, layers: nn.Module) -> list[Any]:
        return [layers.get_submodule(f"linear{number}") for number in range(1, len(self.hidden) + 1)]


def _check_pretrainable(owner: str, hidden: Sequence[int], activation: str, *, batch_norm: bool) -> None:
    """Raise unless the hidden layers compute the same as restricted Boltzmann machines."""
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
            f"{owner}: init is 'rbm', and batch_norm would undo the pretraining of the layers before it; "
            "accepted: batch_norm false, or another init"
        )

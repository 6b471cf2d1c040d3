"""Unsupervised pretraining of a deep sigmoid network, layer by layer, as restricted Boltzmann machines.

Shapes: N examples, V inputs.

Sources: Hinton, Osindero & Teh 2006, A fast learning algorithm for deep belief nets; Hinton & Salakhutdinov 2006,
Reducing the dimensionality of data with neural networks.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from lit_models.input_kinds import check_inputs
from lit_models.rbm import RBM, compute_visible_biases, train_rbm


def pretrain_layers(
    owner: str, layers: Sequence[nn.Linear], inputs: Tensor, *, epochs: int, lr: float, seed: int
) -> Tensor:
    """Train layers of sigmoid units one after another, each as the hidden half of a restricted Boltzmann machine.

    The first machine models the inputs, each further one the hidden probabilities of the layer below. Visible units are
    binary, so inputs are rescaled to [0, 1], from their global minimum and maximum. Afterwards the first layer is
    rescaled to the original inputs, for which it then computes the same. Standardising images with one mean and one
    standard deviation therefore does not change the result.

    Each layer has its own random generator, so that adding a layer does not change those below. Global generators are
    not used.

    Args:
        owner: the class named in error messages.
        layers: from the first on, with their initial values; changed in place.
        inputs: the examples, (N, V).
        epochs: the number of epochs of each layer.
        lr: see `train_rbm`.
        seed: the seed of order and states.

    Returns:
        The mean squared reconstruction error of each layer's machine: (number of layers,).

    Raises:
        ValueError: the inputs are all equal, or not finite.

    >>> layers = [nn.Linear(4, 3), nn.Linear(3, 2)]
    >>> pretrain_layers("MLP", layers, torch.eye(4), epochs=1, lr=0.1, seed=0).shape
    torch.Size([2])
    """
    low, high = inputs.amin().item(), inputs.amax().item()
    if not low < high or not bool(torch.isfinite(inputs).all()):
        found = f"all {low:g}" if low == high else "not all finite"
        raise ValueError(
            f"{owner}: init 'rbm' learns from the inputs, which are {found}; accepted: finite inputs that differ"
        )
    scale = 1 / (high - low)
    visible = (inputs - low) * scale
    errors = []
    with torch.no_grad():
        for number, layer in enumerate(layers, start=1):
            rbm = RBM(
                weight=layer.weight.detach(),
                hidden_bias=layer.bias.detach(),
                visible_bias=compute_visible_biases(visible),
            )
            generator = torch.Generator(visible.device).manual_seed(_derive_seed(seed, number))
            train_rbm(rbm, visible, epochs=epochs, lr=lr, generator=generator)
            errors.append(rbm.reconstruction_error(visible))
            visible = rbm.hidden(visible)
        first = layers[0]
        first.weight.mul_(scale)
        first.bias.sub_(first.weight.sum(1), alpha=low)
    return torch.tensor(errors, dtype=inputs.dtype, device=inputs.device)


def gather_inputs(owner: str, batches: Iterable[Any], like: Tensor) -> Tensor:
    """Return the inputs of all batches (inputs, target), flattened: (N, V).

    Args:
        owner: the class named in error messages.
        batches: the batches of an epoch.
        like: a tensor with the device and dtype of the result.

    Raises:
        TypeError: the batches have another form.
        ValueError: there are no batches, or their inputs are token ids.
    """
    parts = []
    for batch in batches:
        inputs = batch[0] if isinstance(batch, list | tuple) else batch
        if not isinstance(inputs, Tensor):
            raise TypeError(
                f"{owner}: init 'rbm' reads batches of (inputs, target), and found a {type(inputs).__name__} where "
                "inputs are expected"
            )
        check_inputs(owner, "numbers", inputs)
        parts.append(inputs.to(like).flatten(1))
    if not parts:
        raise ValueError(f"{owner}: init 'rbm' learns from training examples, and there are none")
    return torch.cat(parts)


def get_pretraining_batches(owner: str, trainer: Trainer) -> Iterator[Any]:
    """Return an epoch of batches for pretraining, on the network's device.

    They are from the data module's `pretraining_dataloader` if it has one, which may include unlabelled examples, and
    otherwise the training data.

    Raises:
        RuntimeError: several devices train; each would pretrain differently.
    """
    if trainer.world_size > 1:
        raise RuntimeError(
            f"{owner}: init 'rbm' pretrains on one device, and the trainer has {trainer.world_size}; "
            "accepted: devices 1"
        )
    make_loader = getattr(trainer.datamodule, "pretraining_dataloader", None)  # type: ignore[attr-defined]
    if make_loader is None:
        trainer.fit_loop.setup_data()  # makes the loader of training; making another may use random numbers
    loader = trainer.train_dataloader if make_loader is None else make_loader()
    return (trainer.strategy.batch_to_device(batch, dataloader_idx=0) for batch in loader or ())


def _derive_seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed}/pretraining/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1

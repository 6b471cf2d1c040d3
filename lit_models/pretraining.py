"""Where a deep sigmoid network starts whose layers have each learnt to explain the one below, without labels.

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
from lit_models.rbm import RBM, train_rbm, visible_biases


def pretrain_layers(
    owner: str, layers: Sequence[nn.Linear], inputs: Tensor, *, epochs: int, lr: float, seed: int
) -> Tensor:
    """Train layers of sigmoid units one after another, each as the hidden half of a restricted Boltzmann machine.

    The first machine explains the inputs, each further one the probabilities of the hidden units below it. Visible
    units are binary, so inputs are moved to [0, 1], the smallest of all to 0 and the largest to 1, and the first layer
    is scaled back afterwards: the layers then compute from the inputs as they are what the machines do from the moved
    ones. Images that were standardised with one mean and one deviation are explained as the images that they were.

    Each layer draws from a generator of its own, so a further layer leaves those below as they were, and the global
    generators are not touched.

    Args:
        owner: whom error messages name.
        layers: from the first on, where they start; changed in place.
        inputs: the examples, (N, V).
        epochs: how often each layer sees each example.
        lr: see `train_rbm`.
        seed: of order and states.

    Returns:
        The mean squared error with which each layer's machine gives its input back: (number of layers,).

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
                weight=layer.weight.detach(), hidden_bias=layer.bias.detach(), visible_bias=visible_biases(visible)
            )
            generator = torch.Generator(visible.device).manual_seed(_stream(seed, number))
            train_rbm(rbm, visible, epochs=epochs, lr=lr, generator=generator)
            errors.append(rbm.reconstruction_error(visible))
            visible = rbm.hidden(visible)
        first = layers[0]
        first.weight.mul_(scale)
        first.bias.sub_(first.weight.sum(1), alpha=low)
    return torch.tensor(errors, dtype=inputs.dtype, device=inputs.device)


def all_inputs(owner: str, batches: Iterable[Any], like: Tensor) -> Tensor:
    """The inputs of all batches (inputs, target), flattened: (N, V).

    Args:
        owner: whom error messages name.
        batches: of an epoch.
        like: a tensor of the device and type that the inputs are to have.

    Raises:
        TypeError: the batches are something else.
        ValueError: there are none, or their inputs are token ids.
    """
    found = []
    for batch in batches:
        inputs = batch[0] if isinstance(batch, list | tuple) else batch
        if not isinstance(inputs, Tensor):
            raise TypeError(
                f"{owner}: init 'rbm' reads batches of (inputs, target), and found a {type(inputs).__name__} where "
                "inputs are expected"
            )
        check_inputs(owner, "numbers", inputs)
        found.append(inputs.to(like).flatten(1))
    if not found:
        raise ValueError(f"{owner}: init 'rbm' learns from training examples, and there are none")
    return torch.cat(found)


def batches_before_training(owner: str, trainer: Trainer) -> Iterator[Any]:
    """What a Trainer's network may see before training: an epoch of `pretraining_dataloader` where the data module has
    one, such as examples without labels, else of the training data. On the network's device.

    Raises:
        RuntimeError: several devices train, each of which would start elsewhere.
    """
    if trainer.world_size > 1:
        raise RuntimeError(
            f"{owner}: init 'rbm' pretrains on one device, and the trainer has {trainer.world_size}; "
            "accepted: devices 1"
        )
    own = getattr(trainer.datamodule, "pretraining_dataloader", None)  # type: ignore[attr-defined]
    if own is None:
        trainer.fit_loop.setup_data()  # makes the loader that training then reads: asking for another may draw
    loader = trainer.train_dataloader if own is None else own()
    return (trainer.strategy.batch_to_device(batch, dataloader_idx=0) for batch in loader or ())


def _stream(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed}/pretraining/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1

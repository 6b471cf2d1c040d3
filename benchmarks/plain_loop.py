"""Plain PyTorch loop over tensors for the benchmark's work, one process per core: no Trainer, DataLoader or ledger.

python benchmarks/plain_loop.py DATA_DIR NUM_TRIALS [--model mlp|convnet] [--epochs 2]

Written to be fast: images are one float tensor, normalised once per process; a batch is an index_select; Adam updates
in one kernel; metrics stay tensors until the epoch ends. Each process has one thread, imports only torch, once, and
trains its share of the trials one by one. The script itself does not import torch. Prints the validation accuracy and
the seconds of each trial.
"""

import argparse
import itertools
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from commands import num_cores

if TYPE_CHECKING:
    from torch import Tensor, nn

NUM_TRAIN, BATCH_SIZE, EVAL_BATCH_SIZE = 55_000, 128, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Trials of one process."""

    seeds: range
    data_dir: Path
    model: str
    epochs: int


def main() -> None:
    """Train NUM_TRIALS trials, of seeds 0, 1, and so on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("num_trials", type=int)
    parser.add_argument("--model", default="mlp", choices=["mlp", "convnet"])
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else Adam looks for a driver at every step: a fifth of an epoch
    num_processes = min(num_cores(), arguments.num_trials)
    shares = [
        Share(
            seeds=range(first, arguments.num_trials, num_processes),
            data_dir=arguments.data_dir,
            model=arguments.model,
            epochs=arguments.epochs,
        )
        for first in range(num_processes)
    ]
    with ProcessPoolExecutor(num_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for lines in pool.map(train_share, shares):
            print(*lines, sep="\n")


def train_share(share: Share) -> list[str]:
    """Train the trials of one process and return a line for each."""
    import torch

    torch.set_num_threads(1)
    images, target = read_mnist(share.data_dir, flat=share.model == "mlp")
    lines = []
    for seed in share.seeds:
        started = time.perf_counter()
        accuracy = train_trial(seed, images, target, model=share.model, epochs=share.epochs)
        lines.append(f"seed {seed}: {accuracy:.4f}, {time.perf_counter() - started:.2f} s")
    return lines


def train_trial(seed: int, images: "Tensor", target: "Tensor", *, model: str, epochs: int) -> float:
    """Return one trial's validation accuracy after its last epoch. images: (60000, ...), float32; target: (60000,)."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(seed)
    train, val = torch.split(torch.randperm(len(images)), [NUM_TRAIN, len(images) - NUM_TRAIN])
    net = make_mlp() if model == "mlp" else make_convnet()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    for _ in range(epochs):
        net.train()
        train_loss = torch.zeros(())
        for batch in torch.split(train[torch.randperm(len(train))], BATCH_SIZE):
            loss = cross_entropy(net(images.index_select(0, batch)), target.index_select(0, batch))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            train_loss += loss.detach() * len(batch)
        net.eval()
        val_loss, num_correct = torch.zeros(()), torch.zeros(())
        with torch.inference_mode():
            for batch in torch.split(val, EVAL_BATCH_SIZE):
                logits, labels = net(images.index_select(0, batch)), target.index_select(0, batch)
                val_loss += cross_entropy(logits, labels, reduction="sum")
                num_correct += (logits.argmax(1) == labels).sum()
    return num_correct.item() / len(val)


def make_mlp() -> "nn.Module":
    """Build 784-64-128-64-10 with batch norm and ReLU; images: (B, 784)."""
    from torch import nn

    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([784, 64, 128, 64]):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def make_convnet() -> "nn.Module":
    """Build two 5x5 convolutions of 16 and 32 filters, each with ReLU and 2x2 max pooling; images: (B, 1, 28, 28)."""
    from torch import nn

    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([1, 16, 32]):
        layers += [nn.Conv2d(before, after, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, 10))


def read_mnist(data_dir: Path, *, flat: bool) -> "tuple[Tensor, Tensor]":
    """Read the 60,000 training images, normalised: (60000, 784) or (60000, 1, 28, 28); and (60000,), int64."""
    import torch

    folder = data_dir / "MNIST" / "raw"  # an idx file: a header of 16 or 8 bytes, then unsigned bytes
    pixels = bytearray((folder / "train-images-idx3-ubyte").read_bytes())
    labels = bytearray((folder / "train-labels-idx1-ubyte").read_bytes())
    images = torch.frombuffer(pixels, dtype=torch.uint8, offset=16).float().div_(255).sub_(0.1307).div_(0.3081)
    target = torch.frombuffer(labels, dtype=torch.uint8, offset=8).long()
    return images.view((-1, 784) if flat else (-1, 1, 28, 28)), target


if __name__ == "__main__":
    main()

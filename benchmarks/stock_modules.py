"""Benchmark's work as most people write it: torchvision transforms, DataLoader, torchmetrics, Lightning's Trainer.

Importing this file imports all of those, so the importing process pays for them.
"""

import itertools
import logging
import warnings

import lightning
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import transforms
from torchvision.datasets import MNIST

Batch = list[torch.Tensor]


class StockModule(lightning.LightningModule):
    """Cross-entropy, accuracy by torchmetrics, Adam with 0.001; images: (batch, 1, 28, 28)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.train_acc = torchmetrics.Accuracy(task="multiclass", num_classes=10)
        self.val_acc = torchmetrics.Accuracy(task="multiclass", num_classes=10)

    def _step(self, batch: Batch, split: str) -> torch.Tensor:
        images, target = batch
        logits = self.net(images)
        loss = nn.functional.cross_entropy(logits, target)
        accuracy = self.train_acc if split == "train" else self.val_acc
        accuracy(logits, target)
        self.log(f"{split}/loss", loss, on_step=False, on_epoch=True)
        self.log(f"{split}/acc", accuracy, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the metrics of a batch."""
        self._step(batch, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam, as the suite's LightningCLI default."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class StockMNIST(lightning.LightningDataModule):
    """MNIST as torchvision serves it, image by image; 55,000/5,000."""

    def __init__(self, data_dir: str) -> None:
        super().__init__()
        self.data_dir = data_dir

    def setup(self, stage: str) -> None:
        """Split the 60,000 at random."""
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
        images = MNIST(self.data_dir, train=True, transform=transform)
        self.train, self.val = random_split(images, [55_000, 5_000])

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return batches of 128 in random order."""
        return DataLoader(self.train, batch_size=128, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return batches of 1,000."""
        return DataLoader(self.val, batch_size=1000)


def make_mlp() -> nn.Module:
    """Build 784-64-128-64-10 with batch norm and ReLU."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise([784, 64, 128, 64]):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def make_convnet() -> nn.Module:
    """Build two 5x5 convolutions of 16 and 32 filters, each with ReLU and 2x2 max pooling, then linear to 10."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([1, 16, 32]):
        layers += [nn.Conv2d(before, after, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, 10))


MODELS = {"mlp": make_mlp, "convnet": make_convnet}


def train_trial(seed: int, *, data_dir: str, model: str, epochs: int, accelerator: str) -> float:
    """Return one trial's validation accuracy after its last epoch."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    lightning.seed_everything(seed, verbose=False)
    module, data = StockModule(MODELS[model]()), StockMNIST(data_dir)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data)
    return float(trainer.callback_metrics["val/acc"])

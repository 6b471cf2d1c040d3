"""The benchmark's work as most people write it: torchvision transforms, DataLoader, torchmetrics, one warm process.

python benchmarks/stock_lightning.py DATA_DIR NUM_SEEDS
"""

import itertools
import logging
import sys
import time
import warnings

import lightning
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import transforms
from torchvision.datasets import MNIST


class StockMLP(lightning.LightningModule):
    """784-64-128-64-10 with batch norm and ReLU, Adam with 0.001. Images: (batch, 1, 28, 28)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [784, 64, 128, 64]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(64, 10))
        self.accuracy = nn.ModuleDict(
            {f"{split}_acc": torchmetrics.Accuracy(task="multiclass", num_classes=10) for split in ("train", "val")}
        )

    def _step(self, batch: list[torch.Tensor], split: str) -> torch.Tensor:
        images, target = batch
        logits = self.net(images)
        loss = nn.functional.cross_entropy(logits, target)
        accuracy = self.accuracy[f"{split}_acc"]
        accuracy(logits, target)
        self.log(f"{split}/loss", loss, on_step=False, on_epoch=True)
        self.log(f"{split}/acc", accuracy, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """Logs only."""
        self._step(batch, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as LightningCLI's default of the suite."""
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

    def train_dataloader(self) -> DataLoader:
        """Batches of 128 in random order."""
        return DataLoader(self.train, batch_size=128, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Batches of 1,000."""
        return DataLoader(self.val, batch_size=1000)


def main() -> None:
    """Train NUM_SEEDS trials one after the other."""
    data_dir, num_seeds = sys.argv[1], int(sys.argv[2])
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning").setLevel(logging.ERROR)
    for seed in range(num_seeds):
        started = time.perf_counter()
        lightning.seed_everything(seed, verbose=False)
        model, data = StockMLP(), StockMNIST(data_dir)
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(model, datamodule=data)
        print(
            f"seed {seed}: {float(trainer.callback_metrics['val/acc']):.4f}, {time.perf_counter() - started:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

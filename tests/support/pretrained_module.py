"""User modules that initialise themselves from data before training."""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset, random_split

from lit_models import MLP


class OwnHook(MLP):
    """Module whose hook does more than call `pretrain`."""

    def __init__(self, pretraining_epochs: int = 1) -> None:
        super().__init__([4], pretraining_epochs=pretraining_epochs, input_shape=(1, 8, 8), num_classes=10)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.started = True


class OwnPretraining(MLP):
    """Module whose initial values add the mean of the inputs, times a factor, to the drawn values."""

    def __init__(self, hidden: list[int], factor: float = 1.0) -> None:
        super().__init__(hidden, input_shape=(1, 8, 8), num_classes=10)
        self.factor = factor

    def on_fit_start(self) -> None:
        self.pretrain(self.trainer.datamodule.pretraining_dataloader())

    def pretrain(self, batches):
        means = torch.stack([inputs.mean((0, 1)).flatten() for inputs, _ in batches]).mean(0)
        with torch.no_grad():
            self.layers.linear1.weight += self.factor * means.to(self.layers.linear1.weight)


class OtherMethod(MLP):
    """Module with methods that have the names of hooks and are not those hooks."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__([4], input_shape=(1, 8, 8), num_classes=10)
        self.factor = factor

    on_fit_start = LightningModule.on_fit_start

    def pretrain(self, batches):
        raise AssertionError("nobody asked for it")


class Noisy(TensorDataset):
    """Data that draw noise each time an example is read."""

    def __getitem__(self, index):
        inputs, target = super().__getitem__(index)
        return inputs + torch.randn(4), target


class DrawnPoints(LightningDataModule):
    """Data that are split, shuffled and noised with the global generator of torch."""

    def setup(self, stage):
        points = torch.linspace(-1, 1, 160).view(40, 4)
        self.train, self.val = random_split(Noisy(points, torch.arange(40) % 2), [30, 10])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=5)

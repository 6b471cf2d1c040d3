"""User modules without a validation loader, and with sparse gradients."""

import lightning.pytorch as lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class TrainAndTest(lightning.LightningDataModule):
    """Data of 40 texts of 4 words, without validation."""

    def _loader(self, seed):
        words = torch.randint(0, 9, (40, 4), generator=torch.Generator().manual_seed(seed))
        return DataLoader(TensorDataset(words, (words[:, 0] > 4).long()), batch_size=10)

    def train_dataloader(self):
        return self._loader(0)

    def test_dataloader(self):
        return self._loader(1)


class SparseWords(lightning.LightningModule):
    """Classifier by the mean of word vectors, with sparse gradients as usual for large tables."""

    def __init__(self, lr=0.1, sparse=True):
        super().__init__()
        self.lr = lr
        self.vectors = nn.Embedding(9, 3, sparse=sparse)
        self.output = nn.Linear(3, 2)

    def _step(self, batch, name):
        words, target = batch
        loss = nn.functional.cross_entropy(self.output(self.vectors(words).mean(1)), target)
        self.log(f"{name}/loss", loss, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, batch_idx):
        return self._step(batch, "train")

    def validation_step(self, batch, batch_idx):
        return self._step(batch, "val")

    def test_step(self, batch, batch_idx):
        return self._step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

"""Network whose test step returns the correct examples in several forms, and data for it."""

import lightning.pytorch as lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from datamodules import Digits

NUM_CLASSES = 3


class Says(lightning.LightningModule):
    """Module that logs its accuracy; `says` names the return value of test_step."""

    def __init__(self, lr: float = 0.1, says: str = "logits"):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(4, NUM_CLASSES)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", nn.functional.cross_entropy(self.net(x), y), batch_size=len(y))

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        x, y = batch
        logits = self.net(x)
        guess = logits.argmax(1)
        self.log("acc", (guess == y).double().mean(), batch_size=len(y))
        return {
            "logits": {"loss": logits.sum(), "logits": logits, "target": y},
            "predictions": {"predictions": guess, "target": y},
            "preds": {"preds": guess.to(torch.int32), "target": y},
            "correct": {"correct": guess == y},
            "correct and target": {"correct": guess == y, "target": y, "logits": -logits},
            "nothing": None,
            "loss": logits.sum(),
            "no target": {"logits": logits},
            "numbers": {"predictions": logits[:, 0], "target": y.to(x.dtype)},
            "one number": {"correct": (guess == y).double().mean()},
            "share": {"correct": (guess == y).double()},
            "one logit": {"logits": logits[:, :1], "target": y},
            "other size": {"correct": (guess == y).repeat(2)},
            "list": {"correct": [True] * len(y), "target": y},
            "pixels": {"logits": logits[:, :, None], "target": y[:, None]},
            "not always": {"logits": logits, "target": y} if batch_idx != 1 else None,
        }[self.hparams.says]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Points(lightning.LightningDataModule):
    """Data of 60 training and 23 test points; test batches have `size` points, the last fewer."""

    def __init__(self, size: int = 7, loaders: int = 1, seed: int = 0):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage=None):
        draws = torch.Generator().manual_seed(self.hparams.seed)
        x = torch.randn(83, 4, generator=draws)
        y = (x[:, 0] + torch.randn(83, generator=draws)).sign().long() + 1
        self.points = TensorDataset(x, y)

    def part(self, first, last):
        return TensorDataset(*self.points[first:last])

    def train_dataloader(self):
        return DataLoader(self.part(0, 60), batch_size=20, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.part(0, 60), batch_size=60)

    def test_dataloader(self):
        loader = DataLoader(self.part(60, 83), batch_size=self.hparams.size)
        return loader if self.hparams.loaders == 1 else [loader] * self.hparams.loaders


class FixedTest(Digits):
    """Digits with the last 270 as test examples for every seed, in batches of 100."""

    def __init__(self):
        super().__init__(train_size=200, val_size=0, test_size=270, eval_batch_size=100)

    def make_split(self):
        split = super().make_split()
        return split._replace(train=split.train % 1527, test=torch.arange(1527, 1797))

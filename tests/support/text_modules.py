"""User networks for texts, and data for them."""

from functools import partial

import lightning.pytorch as lightning
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lit_models import Classifier

NUM_WORDS = 30


class Reader(lightning.LightningModule):
    """Classifier of texts with two classes; subclasses encode the text differently. Word 0 is padding."""

    def __init__(self, lr: float = 0.1, width: int = 6):
        super().__init__()
        self.save_hyperparameters()
        self.make(width)
        self.output = nn.Linear(width, 2)

    def make(self, width):
        self.embedding = nn.Embedding(NUM_WORDS, width, padding_idx=0)
        self.dropout = nn.Dropout(0.2)

    def read(self, words):
        mask = (words != 0).unsqueeze(2)
        return self.dropout((self.embedding(words) * mask).sum(1) / mask.sum(1).clamp(min=1))

    def forward(self, words):
        return self.output(self.read(words))

    def step(self, batch, split):
        words, target = batch
        logits = self(words)
        loss = functional.cross_entropy(logits, target)
        self.log(f"{split}/loss", loss, on_step=False, on_epoch=True, batch_size=len(target))
        return loss, logits

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train")[0]

    def validation_step(self, batch, batch_idx):
        self.step(batch, "val")

    def test_step(self, batch, batch_idx):
        self.step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class Gated(Reader):
    """Gated recurrent unit as a loop of matrix products, whose state is kept after the end of a text."""

    def make(self, width):
        super().make(width)
        self.weight_ih = nn.Parameter(torch.randn(3 * width, width) * 0.3)
        self.weight_hh = nn.Parameter(torch.randn(3 * width, width) * 0.3)
        self.bias = nn.Parameter(torch.zeros(3 * width))

    def read(self, words):
        inputs = functional.linear(self.embedding(words), self.weight_ih, self.bias)
        state = inputs.new_zeros(len(words), self.weight_hh.shape[1])
        for x, is_word in zip(inputs.unbind(1), (words != 0).unbind(1), strict=True):
            reset_x, update_x, new_x = x.chunk(3, dim=1)
            reset_h, update_h, new_h = functional.linear(state, self.weight_hh).chunk(3, dim=1)
            update = torch.sigmoid(update_x + update_h)
            new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
            state = torch.where(is_word.unsqueeze(1), update * state + (1 - update) * new, state)
        return self.dropout(state)


class Looped(Reader):
    """LSTM with one nn.Linear applied at every word, and maximum over its states."""

    def make(self, width):
        super().make(width)
        self.inputs = nn.Linear(width, 4 * width)
        self.states = nn.Linear(width, 4 * width, bias=False)

    def read(self, words):
        embedded = self.embedding(words)
        state = cell = torch.zeros(len(words), embedded.shape[2])
        states = []
        for x in embedded.unbind(1):
            forget, enter, leave, new = (self.inputs(x) + self.states(state)).chunk(4, dim=1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            state = leave.sigmoid() * cell.tanh()
            states.append(state)
        padded = (words == 0).unsqueeze(2)
        return torch.stack(states, dim=1).masked_fill(padded, -1.0).amax(dim=1)


class Filters(Reader):
    """Convolutions over words, with the maximum of each filter."""

    def make(self, width):
        super().make(width)
        self.narrow = nn.Conv1d(width, width // 2, 2)
        self.wide = nn.Conv1d(width, width - width // 2, 3, padding="same", bias=False)

    def read(self, words):
        features = self.embedding(words).transpose(1, 2)
        return torch.cat([torch.relu(each(features)).amax(dim=2) for each in (self.narrow, self.wide)], dim=1)


class Tied(Reader):
    """Network with two look-ups per step in one table, which it also indexes directly, and single words."""

    def read(self, words):
        first = self.embedding(words[:, 0]) + self.embedding(words[0, 0])
        return super().read(words) + first @ self.embedding.weight.t() @ self.embedding.weight / NUM_WORDS


class Frozen(Reader):
    def make(self, width):
        super().make(width)
        self.embedding = nn.Embedding.from_pretrained(torch.randn(NUM_WORDS, width))


class Functional(Reader):
    """Network with look-ups that do not use nn.Embedding."""

    def make(self, width):
        self.table = nn.Parameter(torch.randn(NUM_WORDS, width))

    def read(self, words):
        return functional.embedding(words, self.table).mean(1) + self.table[words].amax(1)


class FunctionalPadded(Functional):
    def read(self, words):
        return functional.embedding(words, self.table, padding_idx=0).mean(1)


class ByFrequency(Reader):
    def make(self, width):
        super().make(width)
        self.embedding.scale_grad_by_freq = True


class Bounded(Reader):
    def make(self, width):
        super().make(width)
        self.embedding.max_norm = 0.5


class Measured(Reader):
    """Network that logs the recall of class 1, which is no mean over batches."""

    def __init__(self, lr: float = 0.1, width: int = 6, threshold: float = 0.0):
        super().__init__(lr, width)
        self.save_hyperparameters()
        self.kept = []

    def validation_step(self, batch, batch_idx):
        _, logits = self.step(batch, "val")
        return {"scores": logits[:, 1] - logits[:, 0], "of_class_1": batch[1] == 1, "name": "x", "sum": logits.sum()}

    def epoch_metrics(self, split, outputs):
        assert outputs.keys() == {"scores", "of_class_1"}
        found = outputs["scores"][outputs["of_class_1"]] > self.hparams.threshold
        return {f"{split}_recall": found.double().mean(), f"{split}_size": float(len(found))}

    def on_validation_epoch_start(self):
        self.kept = []

    def on_validation_batch_end(self, outputs, batch, batch_idx):
        self.kept.append(outputs)

    def on_validation_epoch_end(self):
        whole = {name: torch.cat([outputs[name] for outputs in self.kept]) for name in ("scores", "of_class_1")}
        self.log_dict(self.epoch_metrics("val", whole))


class HooksAlone(Measured):
    epoch_metrics = None


class LogsMore(Measured):
    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        self.log("val_more", 1.0)


class LogsOther(Measured):
    def on_validation_epoch_end(self):
        self.log_dict({"val_recall": 0.25, "val_size": 10.0})


class ReadsWeights(Measured):
    def epoch_metrics(self, split, outputs):
        return {"val_recall": self.output.bias[0], "val_size": 1.0}


class Hooked(Measured):
    def on_train_epoch_end(self):
        pass


class Silent(Reader):
    def validation_step(self, batch, batch_idx):
        return {"logits": self(batch[0])}


class Bag(Classifier):
    """Shipped bag-of-words classifier."""

    def __init__(self, lr: float = 0.05, dropout: float = 0.3, *, input_shape=None, num_classes=None):
        self.dropout = dropout
        optimizer = partial(torch.optim.Adam, lr=lr)
        super().__init__(optimizer=optimizer, input_shape=input_shape, num_classes=num_classes)

    def make_layers(self, input_shape, num_outputs):
        layers = nn.Embedding(NUM_WORDS, 4, padding_idx=0), nn.Flatten(), nn.Dropout(self.dropout)
        return nn.Sequential(*layers, nn.Linear(input_shape[0] * 4, num_outputs))


class Sentences(lightning.LightningDataModule):
    """Texts of one to seven words, of class 1 if words of the second half prevail. The last batches are smaller."""

    input_shape, num_classes = (7,), 2

    def __init__(self, late_word: int = 1, batch_size: int = 16, is_one_sided: bool = False):
        super().__init__()
        self.late_word = late_word
        self.is_one_sided = is_one_sided
        self.batch_size = batch_size

    def setup(self, stage):
        draws = torch.Generator().manual_seed(5)
        words = torch.randint(1, NUM_WORDS, (110, 7), generator=draws)
        lengths = torch.randint(1, 8, (110, 1), generator=draws)
        words[torch.arange(7) >= lengths] = 0
        halves = (words >= NUM_WORDS // 2).sum(1), ((words > 0) & (words < NUM_WORDS // 2)).sum(1)
        target = (halves[0] > halves[1]).long()
        words[56, 0] = self.late_word
        if self.is_one_sided:
            target[60:] = 0
        self.parts = [TensorDataset(words[at], target[at]) for at in (slice(60), slice(60, 85), slice(85, 110))]

    def train_dataloader(self):
        return DataLoader(self.parts[0], batch_size=self.batch_size)

    def val_dataloader(self):
        return DataLoader(self.parts[1], batch_size=10)

    def test_dataloader(self):
        return DataLoader(self.parts[2], batch_size=10)

"""Modules with correct, wrong or missing gradients."""

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Regression(LightningModule):
    """Regression with two layers and four inputs; subclasses define hidden values and loss."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first = nn.Linear(4, 5)
        self.second = nn.Linear(5, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def hidden(self, x):
        return torch.tanh(self.first(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = (self.second(self.hidden(x)).squeeze(1) - y).square().mean()
        self.log("train/loss", loss)
        self.log_dict({"train/twice": 2 * loss}, on_step=True, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WrongCube(torch.autograd.Function):
    """Function x³ whose backward pass lacks a factor."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x**2


class WrongBackward(Regression):
    def hidden(self, x):
        return WrongCube.apply(self.first(x))


class WrongRow(torch.autograd.Function):
    """Identity whose backward pass leaves out one of the columns."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        gradient[:, 3] = 0
        return gradient


class WrongInOneUnit(Regression):
    def hidden(self, x):
        return torch.tanh(WrongRow.apply(self.first(x)))


class Detached(Regression):
    """Module whose loss depends on the first layer, which gets no gradient."""

    def hidden(self, x):
        return torch.tanh(self.first(x)).detach()


class OwnBackward(Regression):
    """Module with a Lightning hook that scales gradients."""

    def backward(self, loss, *args, **kwargs):
        (2 * loss).backward()


class Dropped(Regression):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(5)

    def hidden(self, x):
        return self.drop(torch.tanh(self.norm(self.first(x))))


class Rectified(Regression):
    """Module with units that are exactly 0 for some examples, the kink of ReLU."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.first.weight.zero_()
            self.first.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0]))

    def hidden(self, x):
        return torch.relu(self.first(x))


class NearKink(Rectified):
    """Module with a kink closer to the initial value than the step of the differences."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.first.bias[0] = 2e-6


class BothSides(torch.autograd.Function):
    """ReLU whose backward pass is wrong on both sides."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * torch.where(x > 0, 3.0, -2.0).to(gradient)


class WrongAtKink(Rectified):
    def hidden(self, x):
        return BothSides.apply(self.first(x))


class Saturated(Regression):
    """Module with saturated sigmoids, so that the first layer changes the loss by less than rounding."""

    def hidden(self, x):
        return torch.sigmoid(self.first(x).abs() + 25)


class ByHand(Regression):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class ReturnsNone(Regression):
    def training_step(self, batch, batch_idx):
        return None


class ReturnsMany(Regression):
    def training_step(self, batch, batch_idx):
        return batch[1] * self.second.bias


class NotFinite(Regression):
    def training_step(self, batch, batch_idx):
        return self.second.bias.sum() * torch.inf


class Counts(Regression):
    def training_step(self, batch, batch_idx):
        self.steps = getattr(self, "steps", 0) + 1
        return super().training_step(batch, batch_idx) * self.steps


class SingleOnly(Regression):
    def hidden(self, x):
        return self.first(x.float())


class AsksTheTrainer(Regression):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) / self.trainer.num_devices


class Constant(Regression):
    def training_step(self, batch, batch_idx):
        return torch.tensor(1.0)


class InSingle(Regression):
    """Module that converts to single precision."""

    def hidden(self, x):
        return super().hidden(x).float().double()


class SingleLoss(Regression):
    """Module whose loss alone is in single precision."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx).float()


class _RoundToSingle(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.float().double()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class SingleFunction(Regression):
    """Function from double to double that computes in single precision."""

    def hidden(self, x):
        return _RoundToSingle.apply(super().hidden(x))


class SingleBuffer(Regression):
    """Module that writes into a tensor of single precision."""

    def hidden(self, x):
        hidden = super().hidden(x)
        written = torch.zeros(hidden.shape, dtype=torch.float32)
        written[:] = hidden
        return written.double()


class SingleInNumPy(Regression):
    """Module whose values pass through NumPy, and whose gradients do not."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss - loss.detach() + float(np.float32(loss.item()))


class LogsSingle(Regression):
    """Module that logs in single precision."""

    def training_step(self, batch, batch_idx):
        self.log("size", self.second.weight.norm().float())
        return super().training_step(batch, batch_idx)


class SingleTargets(Regression):
    """Module with targets in single precision, which are harmless, since they depend on no parameter."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return super().training_step((x, y.float()), batch_idx)


class ClipsItself(Regression):
    def on_after_backward(self):
        for parameter in self.parameters():
            parameter.grad.clamp_(-1e-3, 1e-3)


class DeeplyNamed(Regression):
    def __init__(self, lr: float = 0.1):
        super().__init__()
        self.lr = lr
        self.the_encoder_of_the_words = nn.ModuleDict({"the_first_of_its_layers": nn.Linear(4, 4)})

    def hidden(self, x):
        return super().hidden(self.the_encoder_of_the_words["the_first_of_its_layers"](x))


class Points(LightningDataModule):
    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        x, y = torch.randn(12, 4, generator=generator), torch.randn(12, generator=generator)
        return DataLoader(TensorDataset(x, y), batch_size=12)


class NoPoints(LightningDataModule):
    def train_dataloader(self):
        raise ValueError("no points")

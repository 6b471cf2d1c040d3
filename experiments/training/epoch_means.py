"""Epoch means of what a module logs in its steps, without the Trainer's bookkeeping at every call.

`self.log(name, value, on_step=False, on_epoch=True, batch_size=...)` costs the Trainer about a third of a millisecond a
call, more than the rest of a small network's step. `EpochMeans` adds such values up itself, with the same weights in
the same order of operations, and hands each mean to the real `self.log` once, at the end of the epoch, where callbacks
and loggers find it as ever. A call that asks for anything else (a step value, another reduction, a progress bar, a
synchronisation over devices, several dataloaders) goes to the real `self.log` unchanged. With several devices the means
are over all of them, as `sync_dist=True` would have it.
"""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from .multi_device import reads_whole

_DEFAULTS = {
    "reduce_fx": "mean",
    "enable_graph": False,
    "sync_dist": False,
    "sync_dist_group": None,
    "add_dataloader_idx": True,
    "metric_attribute": None,
    "rank_zero_only": False,
}


class EpochMeans(Callback):
    """Put it first among the callbacks, so that the others find the means."""

    def __init__(self) -> None:
        self._log: Callable[..., None] | None = None
        self._in_step = False
        self._is_training = False
        self._sums: dict[tuple[str, str], tuple[torch.Tensor, int]] = {}  # (train or eval, name) -> sum, weight

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen to the module's `log`."""
        if self._log is None:
            self._log = pl_module.log
            pl_module.log = self._note  # type: ignore[method-assign]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the module as it was."""
        if self._log is not None:
            del pl_module.log
            self._log = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """From here on, `log` is called by `training_step`."""
        self._in_step = self._is_training = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """From here on, `log` is called by hooks."""
        self._in_step = self._is_training = False

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """From here on, `log` is called by `validation_step`."""
        self._in_step = trainer.num_val_batches is not None and len(trainer.num_val_batches) == 1

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """From here on, `log` is called by hooks."""
        self._in_step = False

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """From here on, `log` is called by `test_step`."""
        self._in_step = trainer.num_test_batches is not None and len(trainer.num_test_batches) == 1

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """From here on, `log` is called by hooks."""
        self._in_step = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means of the training steps."""
        self._publish(trainer, "train", is_whole=False)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means of the validation steps."""
        self._publish(trainer, "eval", is_whole=reads_whole(trainer.val_dataloaders))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means of the test steps."""
        self._publish(trainer, "eval", is_whole=reads_whole(trainer.test_dataloaders))

    def _note(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        *args: Any,
        batch_size: int | None = None,
        **others: Any,
    ) -> None:
        """Stands in for `LightningModule.log` while the Trainer runs."""
        if self._is_training:
            wants_mean = on_epoch is True and on_step is False
        else:
            wants_mean = on_epoch is not False and not on_step
        is_plain = not args and not prog_bar and logger is not False and _are_defaults(others)
        if not (self._in_step and wants_mean and is_plain and batch_size and _is_scalar(value)):
            if self._log is None:
                raise RuntimeError("EpochMeans listens to no module")
            self._log(name, value, prog_bar, logger, on_step, on_epoch, *args, batch_size=batch_size, **others)
            return
        value = value.detach().squeeze() if isinstance(value, torch.Tensor) else torch.tensor(float(value))
        weighted = (value if value.is_floating_point() else value.float()) * batch_size
        key = ("train" if self._is_training else "eval", name)
        total, weight = self._sums.get(key, (None, 0))
        self._sums[key] = (weighted if total is None else total + weighted, weight + batch_size)

    def _publish(self, trainer: Trainer, split: str, *, is_whole: bool) -> None:
        """Hand the means on and start afresh."""
        names = [name for of_split, name in self._sums if of_split == split]
        sums = [self._sums.pop((split, name)) for name in names]
        means = [total / weight for total, weight in sums]
        if trainer.world_size > 1 and names:
            means = _means_of_ranks(trainer, sums, means, is_whole=is_whole)
        for name, mean in zip(names, means, strict=True):
            if self._log is not None:
                self._log(name, mean, on_step=False, on_epoch=True, batch_size=1)


def _means_of_ranks(
    trainer: Trainer, sums: list[tuple[torch.Tensor, int]], means: list[torch.Tensor], *, is_whole: bool
) -> list[torch.Tensor]:
    """The same means on every rank: over the examples of all, or where each read all of them, those of rank 0."""
    if is_whole:
        found: list[float] = trainer.strategy.broadcast([float(mean) for mean in means])
        return [mean.new_tensor(value) for mean, value in zip(means, found, strict=True)]
    rows = torch.stack([torch.stack([total.double(), total.double().new_tensor(weight)]) for total, weight in sums])
    rows = trainer.strategy.reduce(rows.to(trainer.strategy.root_device), reduce_op="sum")
    return [(row[0] / row[1]).to(mean.dtype) for row, mean in zip(rows, means, strict=True)]


def _are_defaults(arguments: dict[str, Any]) -> bool:
    return all(name in _DEFAULTS and _DEFAULTS[name] == value for name, value in arguments.items())


def _is_scalar(value: Any) -> bool:
    return isinstance(value, float | int) or (type(value) is torch.Tensor and value.numel() == 1)

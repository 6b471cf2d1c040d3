"""Epoch means of the values that a module logs in its steps, without the Trainer's bookkeeping at every call.

`self.log(name, value, on_step=False, on_epoch=True, batch_size=...)` costs the Trainer about a third of a millisecond a
call, more than the rest of a small network's step. `EpochMeans` adds such values up itself, with the same weights in
the same order of operations, and logs each mean once at the end of the epoch, where callbacks and loggers find it as
usual. A call with any other option (a step value, another reduction, a progress bar, synchronisation over devices,
several dataloaders) goes to the module's own `log`. With several devices the means are over all of them, as with
`sync_dist=True`.
"""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from .multi_device import reads_all_examples
from .step_harness import LogCall, replace_log


class EpochMeans(Callback):
    """Callback that averages logged values; it comes first, so that other callbacks find the means."""

    def __init__(self) -> None:
        self._restore_log: Callable[[], None] | None = None
        self._in_step = False
        self._is_training = False
        self._sums: dict[tuple[str, str], tuple[torch.Tensor, int]] = {}  # (train or eval, name) -> sum, weight

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replace the module's `log`."""
        if self._restore_log is None:
            self._restore_log = replace_log(pl_module, self._take)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the module's `log`."""
        if self._restore_log is not None:
            self._restore_log()
            self._restore_log = None

    def on_train_batch_start(self, *_: Any) -> None:
        """Take calls: `training_step` runs."""
        self._in_step = self._is_training = True

    def on_train_batch_end(self, *_: Any) -> None:
        """Leave calls alone: hooks run."""
        self._in_step = self._is_training = False

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Take calls: `validation_step` runs."""
        self._in_step = trainer.num_val_batches is not None and len(trainer.num_val_batches) == 1

    def on_test_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Take calls: `test_step` runs."""
        self._in_step = trainer.num_test_batches is not None and len(trainer.num_test_batches) == 1

    on_validation_batch_end = on_test_batch_end = on_train_batch_end  # type: ignore[assignment]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means of the training steps."""
        self._log_means(trainer, pl_module, "train", is_whole=False)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means of the validation steps."""
        self._log_means(trainer, pl_module, "eval", is_whole=reads_all_examples(trainer.val_dataloaders))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means of the test steps."""
        self._log_means(trainer, pl_module, "eval", is_whole=reads_all_examples(trainer.test_dataloaders))

    def _take(self, call: LogCall) -> bool:
        """Add a value to its sum, if only the mean of the epoch is logged."""
        is_training = self._is_training
        is_mean = (
            call.is_mean and call.logs_epoch(is_training=is_training) and not call.logs_steps(is_training=is_training)
        )
        is_plain = not call.prog_bar and call.logger is not False and not call.has_others
        if not (self._in_step and is_mean and is_plain and call.batch_size and _is_scalar(call.value)):
            return False
        value = call.value.detach() if isinstance(call.value, torch.Tensor) else torch.tensor(float(call.value))
        value = value.squeeze() if value.dim() else value
        weighted = (value if value.is_floating_point() else value.float()) * call.batch_size
        key = ("train" if is_training else "eval", call.name)
        total, weight = self._sums.get(key, (None, 0))
        self._sums[key] = (weighted if total is None else total + weighted, weight + call.batch_size)
        return True

    def _log_means(self, trainer: Trainer, module: LightningModule, split: str, *, is_whole: bool) -> None:
        """Log the means and clear the sums."""
        names = [name for of_split, name in self._sums if of_split == split]
        sums = [self._sums.pop((split, name)) for name in names]
        means = [total / weight for total, weight in sums]
        if trainer.world_size > 1 and names:
            means = _means_of_ranks(trainer, sums, means, is_whole=is_whole)
        for name, mean in zip(names, means, strict=True):
            module.log(name, mean, on_step=False, on_epoch=True, batch_size=1)


def _means_of_ranks(
    trainer: Trainer, sums: list[tuple[torch.Tensor, int]], means: list[torch.Tensor], *, is_whole: bool
) -> list[torch.Tensor]:
    """Return equal means on every rank: over the examples of all, or rank 0's if each rank read all examples."""
    if is_whole:
        of_first: list[float] = trainer.strategy.broadcast([float(mean) for mean in means])
        return [mean.new_tensor(value) for mean, value in zip(means, of_first, strict=True)]
    rows = torch.stack([torch.stack([total.double(), total.double().new_tensor(weight)]) for total, weight in sums])
    rows = trainer.strategy.reduce(rows.to(trainer.strategy.root_device), reduce_op="sum")
    return [(row[0] / row[1]).to(mean.dtype) for row, mean in zip(rows, means, strict=True)]


def _is_scalar(value: Any) -> bool:
    return isinstance(value, float | int) or (type(value) is torch.Tensor and value.numel() == 1)

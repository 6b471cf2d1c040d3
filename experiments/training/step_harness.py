"""Calls of a module's steps without a Trainer: the step itself, its loss, and what it sends to `self.log`."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

_OTHER_DEFAULTS = {
    "enable_graph": False,
    "sync_dist": False,
    "sync_dist_group": None,
    "add_dataloader_idx": True,
    "metric_attribute": None,
    "rank_zero_only": False,
}
"""Arguments of `LightningModule.log` that nobody here interprets, with their defaults."""

_MEANS = ("mean", torch.mean)


def call_step(module: LightningModule, name: str, batch: Any, batch_idx: int) -> Any:
    """Return what a step returns. Like the Trainer, omit the batch's number where the step does not take it."""
    step = getattr(module, name)
    takes_number = len(inspect.signature(step).parameters) > 1
    return step(batch, batch_idx) if takes_number else step(batch)


def find_loss(output: Any) -> Tensor | None:
    """Find the loss in the output of a training step; None if there is none, for which the Trainer skips the step."""
    loss = output.get("loss") if isinstance(output, Mapping) else output
    return loss if isinstance(loss, Tensor) else None


def first_size(batch: Any) -> int:
    """Return the number of examples in a batch: the length of its first tensor's first axis."""
    if isinstance(batch, Tensor):
        return batch.shape[0] if batch.dim() else 1
    if isinstance(batch, Mapping):
        return first_size(next(iter(batch.values())))
    return first_size(batch[0])


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Create new tensors in this type within the block, as under the Trainer's precision 64-true."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode within the block; some of its parts may be in it before and after too."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, is_training in modes.items():
            part.training = is_training


def describe_error(error: BaseException) -> str:
    """Return the class of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


class LogCall(NamedTuple):
    """Arguments of one call of `LightningModule.log`, as the step gave them.

    has_others: whether an argument without a field here differs from its default.
    """

    name: str
    value: Any
    prog_bar: bool
    logger: bool | None
    on_step: bool | None
    on_epoch: bool | None
    reduce_fx: str | Callable[[Any], Any]
    batch_size: int | None
    has_others: bool

    def logs_steps(self, *, is_training: bool) -> bool:
        """Return whether each step's value is logged; by default, in training only."""
        return is_training if self.on_step is None else self.on_step

    def logs_epoch(self, *, is_training: bool) -> bool:
        """Return whether the epoch's mean is logged; by default, in validation and test only."""
        return not is_training if self.on_epoch is None else self.on_epoch

    @property
    def is_mean(self) -> bool:
        """Return whether the epoch's value is the mean over its steps."""
        return self.reduce_fx in _MEANS


def replace_log(module: LightningModule, take: Callable[[LogCall], bool]) -> Callable[[], None]:
    """Pass the calls of `module.log` to a function, and return another function that ends this.

    Args:
        module: its steps run.
        take: returns whether it took the call; other calls go to the module's own `log`.
    """
    own: Callable[..., None] = module.log

    def log(
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[[Any], Any] = "mean",
        *args: Any,
        batch_size: int | None = None,
        **others: Any,
    ) -> None:
        has_others = bool(args) or (bool(others) and not _are_defaults(others))
        if not take(LogCall(name, value, prog_bar, logger, on_step, on_epoch, reduce_fx, batch_size, has_others)):
            own(name, value, prog_bar, logger, on_step, on_epoch, reduce_fx, *args, batch_size=batch_size, **others)

    vars(module)["log"] = log
    return lambda: vars(module).pop("log", None)


def _are_defaults(arguments: Mapping[str, Any]) -> bool:
    return all(name in _OTHER_DEFAULTS and _OTHER_DEFAULTS[name] == value for name, value in arguments.items())

"""A module's own steps over the stacked parameters of many trials.

R rows of L trials, T = R * L, B batch. A module's `training_step` is called once, under `torch.func.vmap` over the rows
and over the columns of a row, on a template whose parameters and buffers are replaced by slices of stacked ones: there
is no second definition of the model. A batch belongs to a row, so what is computed from it alone is computed once a
row. What the step sends to `self.log` is returned along with the loss, one value a trial.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.func import functional_call, vmap

from .dropout import TrialNoise
from .findings import NotFusable
from .layers import install
from .nested import first_size, mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One value that a step logged: value (T,), to be averaged over the epoch with weight `batch_size`, or not."""

    value: Tensor
    batch_size: int
    on_step: bool
    on_epoch: bool


class StackedModels:
    """The parameters and buffers of T trials of one structure, stacked along a first axis.

    parameters: name -> (T, *shape), leaves of autograd, float; a trial without one of them (PReLU has one, ReLU has
        none) has a place that is never used.
    buffers: name -> (T, *shape), changed in place by training steps, as batch norm does.
    template: the module whose steps run, one of the models; its own tensors are no longer used.
    shape, first_row: (R, L) and 0; those of the rows at work, while a step works on some of them.

    Arguments:
        models: (T,), row after row.
        shape: (R, L).
    """

    def __init__(self, models: Sequence[LightningModule], shape: tuple[int, int]) -> None:
        self.shape = shape
        self.first_row = 0
        self.parameters = {
            name: nn.Parameter(values, requires_grad=is_trained)
            for name, (values, is_trained) in _stacked([dict(model.named_parameters()) for model in models]).items()
        }
        self.buffers = {
            name: values for name, (values, _) in _stacked([dict(model.named_buffers()) for model in models]).items()
        }
        self.template = max(models, key=lambda model: len([*model.modules()]))
        self.noise = TrialNoise()
        self.place: Tensor | None = None
        """Stands for the trial while a step runs: the one tensor of which it is sure that vmap sees all trials."""
        self._own = [name for name, _ in [*self.template.named_parameters(), *self.template.named_buffers()]]
        self._names = _first_names(self.template)
        self._places = torch.zeros(shape, device=next(iter(self.parameters.values())).device)
        install(self.template, models, self)
        self._step = _Step(self.template)

    def of(self, name: str) -> Tensor:
        """(T, *shape): the stacked parameter or buffer of that name, or of the one that it is tied to."""
        name = self._names.get(name, name)
        value = self.parameters[name] if name in self.parameters else self.buffers[name]
        rows, columns = self.shape
        if rows * columns == len(value):
            return value
        return value[self.first_row * columns : (self.first_row + rows) * columns]

    def draw(self, like: Tensor, rates: Sequence[float]) -> Tensor:
        """Dropout's noise (R, L, B, ...) for values (R, L or 1, B, ...) and a rate a trial (T,)."""
        shape = (*self.shape, *like.shape[2:])
        return self.noise.draw(like.expand(shape).flatten(0, 1), rates).view(shape)

    def train_step(self, batch: Any, batch_idx: int) -> tuple[Tensor, dict[str, Logged]]:
        """Loss (T,) and what was logged. batch: any nesting of tensors with a first axis of R."""
        self.template.train()
        return self._run("training_step", batch, batch_idx)

    def eval_step(self, name: str, batch: Any, batch_idx: int, rows_at_once: int) -> dict[str, Logged]:
        """What validation_step or test_step logged. batch as in `train_step`; few rows at once take less memory."""
        self.template.eval()
        whole = self.shape
        parts = []
        with torch.no_grad():
            try:
                for first in range(0, whole[0], rows_at_once):
                    rows = slice(first, min(first + rows_at_once, whole[0]))
                    self.first_row, self.shape = first, (rows.stop - first, whole[1])
                    of_rows = batch if rows_at_once >= whole[0] else mapped(itemgetter(rows), batch)
                    parts.append(self._run(name, of_rows, batch_idx)[1])
            finally:
                self.first_row, self.shape = 0, whole
        return {
            key: replace(entry, value=torch.cat([part[key].value for part in parts])) for key, entry in parts[0].items()
        }

    def _run(self, name: str, batch: Any, batch_idx: int) -> tuple[Tensor, dict[str, Logged]]:
        asked: dict[str, tuple[int, bool, bool]] = {}

        def one(state: Mapping[str, Tensor], place: Tensor, batch: Any) -> Any:
            values: dict[str, Tensor] = {}
            self.place = place
            with _captured_log(self.template, values, asked, batch, is_training=name == "training_step"):
                output = functional_call(self._step, state, (name, batch, batch_idx))  # type: ignore[arg-type]
            if name != "training_step":
                return place, values
            loss = output.get("loss") if isinstance(output, dict) else output
            if loss is None:
                raise NotFusable("training_step returned no loss")
            return loss, values

        state = {f"module.{own}": (value := self.of(own)).view(*self.shape, *value.shape[1:]) for own in self._own}
        places = self._places[self.first_row : self.first_row + self.shape[0]]
        over_columns = vmap(one, in_dims=(0, 0, None), randomness="different")
        try:
            returned, values = vmap(over_columns, randomness="different")(state, places, batch)
        finally:
            self.place = None
        logged = {}
        for key, value in values.items():
            batch_size, on_step, on_epoch = asked[key]
            logged[key] = Logged(value=value.flatten(), batch_size=batch_size, on_step=on_step, on_epoch=on_epoch)
        return returned.flatten(), logged


def _stacked(named: Sequence[Mapping[str, Tensor]]) -> dict[str, tuple[Tensor, bool]]:
    """Name -> the tensors of all trials (T, *shape), zeros where a trial has none, and whether they are trained."""
    examples: dict[str, Tensor] = {}
    for tensors in named:
        for name, tensor in tensors.items():
            examples.setdefault(name, tensor)
    return {
        name: (
            torch.stack([tensors[name].detach() if name in tensors else torch.zeros_like(like) for tensors in named]),
            like.requires_grad,
        )
        for name, like in examples.items()
    }


def _first_names(module: nn.Module) -> dict[str, str]:
    """Every name of a parameter -> the first name of the same one, for parameters that are tied."""
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    return {name: first[id(parameter)] for name, parameter in module.named_parameters(remove_duplicate=False)}


class _Step(nn.Module):
    """A module whose forward is one of the steps of a LightningModule, for `functional_call`."""

    def __init__(self, module: LightningModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, name: str, batch: Any, batch_idx: int) -> Any:
        return getattr(self.module, name)(batch, batch_idx)


class _captured_log:  # noqa: N801 -- a context manager
    """Replaces a module's `log` while a step runs."""

    def __init__(
        self,
        module: LightningModule,
        values: dict[str, Tensor],
        asked: dict[str, tuple[int, bool, bool]],
        batch: Any,
        *,
        is_training: bool,
    ) -> None:
        self._module, self._values, self._asked, self._batch = module, values, asked, batch
        self._is_training = is_training

    def __enter__(self) -> None:
        self._module.__dict__["log"] = self._log

    def __exit__(self, *error: object) -> None:
        del self._module.__dict__["log"]

    def _log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[[Any], Any] = "mean",
        *_: Any,
        batch_size: int | None = None,
        **__: Any,
    ) -> None:
        on_step = on_step if on_step is not None else self._is_training
        on_epoch = on_epoch if on_epoch is not None else not self._is_training
        if on_step and not self._is_training:
            raise NotFusable(f"self.log({name!r}, on_step=True) logs the single steps of validation or test")
        if reduce_fx not in {"mean", torch.mean}:
            raise NotFusable(f"self.log({name!r}, reduce_fx={reduce_fx!r}) is not a mean")
        if not isinstance(value, Tensor | int | float):
            raise NotFusable(f"self.log({name!r}) logs a {type(value).__name__}, which keeps a state of its own")
        tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(float(value))
        self._values[name] = (tensor if tensor.is_floating_point() else tensor.float()).squeeze()
        self._asked[name] = (batch_size or first_size(self._batch), on_step, on_epoch)

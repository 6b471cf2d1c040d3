"""A module's own steps over the stacked parameters of many trials.

R rows of L trials, T = R * L, B batch. A module's `training_step` is called once, under `torch.func.vmap` over the rows
and over the columns of a row, on a template whose parameters and buffers are replaced by slices of stacked ones: there
is no second definition of the model. A batch belongs to a row, so what is computed from it alone is computed once a
row. What the step sends to `self.log` is returned along with the loss, one value a trial.
"""

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from types import TracebackType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.func import functional_call, vmap

from experiments.fusing.layers.dropout import TrialNoise
from experiments.fusing.layers.known_layers import Listener, install
from experiments.fusing.reasons import NotFusable
from experiments.training.correct_examples import correct_of
from experiments.training.epoch_metrics import example_outputs, has_epoch_metrics
from experiments.training.module_clone import clone_module
from experiments.training.step_harness import call_step, default_dtype, eval_mode

from .nested_tensors import mapped
from .step_capture import CapturedLog, LogOptions, require_loss

EVALUATION_STEPS = {"val": "validation_step", "test": "test_step"}
"""The step of each split that is not trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One value that a step logged, of all trials: (T,)."""

    value: Tensor
    options: LogOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What one validation or test step came to.

    outputs: what it returned of each example (T, B, ...), for a module with `epoch_metrics`.
    correct: of a test, what `correct_of` finds, (T, B) each.
    logged: what it logged.
    """

    outputs: dict[str, Tensor]
    correct: dict[str, Tensor]
    logged: dict[str, Logged]


class StackedModels:
    """The parameters and buffers of T trials of one structure, stacked along a first axis.

    parameters: name -> (T, *shape), leaves of autograd, float; a trial without one of them (PReLU has one, ReLU has
        none) has a place that is never used.
    buffers: name -> (T, *shape), changed in place by training steps, as batch norm does.
    template: the module whose steps run, a copy of one of the models; its own tensors are not used.
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
        largest = max(models, key=lambda model: len([*model.modules()]))
        self.template = clone_module(largest, largest.trainer)
        self._has_epoch_metrics = has_epoch_metrics(self.template)
        self.noise = TrialNoise()
        self.place: Tensor | None = None
        """Stands for the trial while a step runs: the one tensor of which it is sure that vmap sees all trials."""
        self.listener: Listener | None = None
        """Is told what layers put out while a step runs on a probe."""
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
        return self._run("training_step", batch, batch_idx)

    def eval_step(self, name: str, batch: Any, batch_idx: int, rows_at_once: int) -> Evaluated:
        """A validation_step or test_step. batch as in `train_step`; few rows at once take less memory."""
        with eval_mode(self.template), torch.no_grad():
            parts = [self._run(name, of_rows, batch_idx) for of_rows in self.parts(batch, rows_at_once)]
        (returned, logged), *_ = parts
        of_kind = {
            kind: {key: torch.cat([part[kind][key] for part, _ in parts]) for key in returned[kind]}
            for kind in ("outputs", "correct")
        }
        return Evaluated(
            outputs=of_kind["outputs"],
            correct=of_kind["correct"],
            logged={
                key: replace(entry, value=torch.cat([part[key].value for _, part in parts]))
                for key, entry in logged.items()
            },
        )

    def parts(self, batch: Any, rows_at_once: int) -> Iterator[Any]:
        """The batch of some neighbouring rows after another; a step between works on these. batch: tensors (R, ...)."""
        whole = self.shape
        try:
            for first in range(0, whole[0], rows_at_once):
                rows = slice(first, min(first + rows_at_once, whole[0]))
                self.first_row, self.shape = first, (rows.stop - first, whole[1])
                yield batch if rows_at_once >= whole[0] else mapped(itemgetter(rows), batch)
        finally:
            self.first_row, self.shape = 0, whole

    def _dtype(self) -> torch.dtype:
        """What new tensors of a step are: as under the Trainer, double with 64-true and otherwise single."""
        is_double = all(value.dtype == torch.float64 for value in self.parameters.values())
        return torch.float64 if is_double else torch.float32

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Pass what layers put out to a function within the block."""
        self.listener = listener
        try:
            yield
        finally:
            self.listener = None

    @contextlib.contextmanager
    def on_copies(self, dtype: torch.dtype | None = None) -> Iterator[None]:
        """Steps work on copies meanwhile, of this precision if one is given; afterwards all is as it was."""
        kept = self.parameters, self.buffers
        attributes = {module: dict(vars(module)) for module in self.template.modules()}
        lists = [value for values in attributes.values() for value in values.values() if type(value) is list]
        contents = [[*each] for each in lists]
        self.parameters = {
            name: nn.Parameter(value.detach().to(dtype or value.dtype, copy=True), value.requires_grad)
            for name, value in self.parameters.items()
        }
        self.buffers = {
            name: value.to((dtype or value.dtype) if value.is_floating_point() else value.dtype, copy=True)
            for name, value in self.buffers.items()
        }
        try:
            yield
        finally:
            self.parameters, self.buffers = kept
            for module, values in attributes.items():
                vars(module).clear()
                vars(module).update(values)
            for each, content in zip(lists, contents, strict=True):  # that a step appends to
                each[:] = content

    def _run(self, name: str, batch: Any, batch_idx: int) -> tuple[Any, dict[str, Logged]]:
        """The loss (T,) of a training step or what is kept of another's outputs (T, B, ...), and what was logged."""
        options: dict[str, LogOptions] = {}
        is_training = name == "training_step"

        def one(state: Mapping[str, Tensor], place: Tensor, batch: Any) -> Any:
            self.place = place
            with CapturedLog(self.template, batch, is_training=is_training) as log:
                output, assigned = functional_call(self._step, state, (name, batch, batch_idx))  # type: ignore[arg-type]
            options.update(log.options)
            if is_training:
                return require_loss(output), log.values, assigned
            kept = {
                "outputs": example_outputs(output, batch) if self._has_epoch_metrics else {},
                "correct": correct_of(output, batch) if name == "test_step" else {},
            }
            return kept, log.values, assigned

        state = {f"module.{own}": (value := self.of(own)).view(*self.shape, *value.shape[1:]) for own in self._own}
        places = self._places[self.first_row : self.first_row + self.shape[0]]
        over_columns = vmap(one, in_dims=(0, 0, None), randomness="different")
        try:
            with default_dtype(self._dtype()), _Undrawn():
                returned, values, assigned = vmap(over_columns, randomness="different")(state, places, batch)
        finally:
            self.place = None
        for key, value in assigned.items():
            self.of(key).copy_(value.detach().flatten(0, 1))
        logged = {key: Logged(value=value.flatten(), options=options[key]) for key, value in values.items()}
        return mapped(lambda value: value.flatten(0, 1), returned), logged


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

    def forward(self, name: str, batch: Any, batch_idx: int) -> tuple[Any, dict[str, Tensor]]:
        """What the step returns, and the buffers that it put others in the place of."""
        before = dict(self.module.named_buffers())
        output = call_step(self.module, name, batch, batch_idx)
        after = dict(self.module.named_buffers())
        return output, {key: value for key, value in after.items() if value is not before.get(key)}


class _Undrawn:
    """Raises when something drew from the global generators in a `with` block: masks would not be each trial's own."""

    def __enter__(self) -> None:
        self._before = _generator_states()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and _generator_states() != self._before:
            raise NotFusable("a step draws random numbers by itself, which among layers only nn.Dropout may")


def _generator_states() -> tuple[Any, ...]:
    numbers = np.random.get_state(legacy=False)  # noqa: NPY002 -- the global generator is what user code draws from
    return (
        random.getstate(),
        (numbers["state"]["key"].tobytes(), numbers["state"]["pos"]),
        torch.default_generator.get_state().numpy().tobytes(),
        *(state.numpy().tobytes() for state in (torch.cuda.get_rng_state_all() if _uses_cuda() else [])),
    )


def _uses_cuda() -> bool:
    """Unlike `is_available`, this does not look for a driver, which takes longer than a step."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]

"""Steps of a module over the stacked parameters of many trials.

R rows of L trials, T = R * L, B batch. A module's `training_step` is called once, under `torch.func.vmap` over the rows
and over the columns of a row, on a template whose parameters and buffers are replaced by slices of stacked ones: there
is no second definition of the model. A batch belongs to a row, so values that depend on it alone are computed once for
each row. The values that a step logs are returned along with the loss, one for each trial.
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
from experiments.fusing.layers.known_layers import OutputHook, install_layers
from experiments.fusing.reading.nested_tensors import map_tensors
from experiments.fusing.reasons import NotFusable
from experiments.training.correct_examples import find_correct
from experiments.training.epoch_metrics import example_outputs, has_epoch_metrics
from experiments.training.module_clone import clone_module
from experiments.training.step_harness import call_step, default_dtype, eval_mode

from .step_capture import CapturedLog, LogOptions, require_loss

EVALUATION_STEPS = {"val": "validation_step", "test": "test_step"}
"""The step of each split that is not trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """Values (T,) that a step logs under one name."""

    value: Tensor
    options: LogOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResults:
    """Results of one validation or test step.

    outputs: returned for each example (T, B, ...), if the module has `epoch_metrics`.
    correct: of a test step, from `find_correct`, (T, B) each.
    logged: name -> values.
    """

    outputs: dict[str, Tensor]
    correct: dict[str, Tensor]
    logged: dict[str, Logged]


class StackedModels:
    """Parameters and buffers of T trials of one structure, stacked along a first axis.

    parameters: name -> (T, *shape), floating-point leaves of autograd. A trial without one of them (PReLU has one, ReLU
        has none) has zeros there that are never used.
    buffers: name -> (T, *shape), changed in place by training steps, as batch norm does.
    template: the module whose steps run, a clone of one of the models; its own tensors are not used.
    shape, first_row: (R, L) and 0, or those of a few rows while a step runs on these alone.
    trial_marker: one number for each trial while a step runs; vmap always batches it over all trials.
    output_hook: called with the outputs of layers while a step runs on a probe.

    Args:
        models: (T,), row after row.
        shape: (R, L).
    """

    def __init__(self, models: Sequence[LightningModule], shape: tuple[int, int]) -> None:
        self.shape = shape
        self.first_row = 0
        parameters = _stack_tensors([dict(model.named_parameters()) for model in models])
        buffers = _stack_tensors([dict(model.named_buffers()) for model in models])
        self.parameters = {name: nn.Parameter(values, is_trained) for name, (values, is_trained) in parameters.items()}
        self.buffers = {name: values for name, (values, _) in buffers.items()}
        largest = max(models, key=lambda model: len([*model.modules()]))
        self.template = clone_module(largest, largest.trainer)
        self._has_epoch_metrics = has_epoch_metrics(self.template)
        self.noise = TrialNoise()
        self.trial_marker: Tensor | None = None
        self.output_hook: OutputHook | None = None
        self._tensor_names = [name for name, _ in [*self.template.named_parameters(), *self.template.named_buffers()]]
        self._first_names = _find_first_names(self.template)
        self._trial_markers = torch.zeros(shape, device=next(iter(self.parameters.values())).device)
        install_layers(self.template, models, self)
        self._step = _Step(self.template)

    def get(self, name: str) -> Tensor:
        """Return a stacked parameter or buffer (T, *shape) by its name, or by a name that is tied to it."""
        name = self._first_names.get(name, name)
        value = self.parameters[name] if name in self.parameters else self.buffers[name]
        rows, columns = self.shape
        if rows * columns == len(value):
            return value
        return value[self.first_row * columns : (self.first_row + rows) * columns]

    def draw(self, like: Tensor, rates: Sequence[float]) -> Tensor:
        """Draw dropout's noise (R, L, B, ...) for values (R, L or 1, B, ...) and a rate for each trial (T,)."""
        shape = (*self.shape, *like.shape[2:])
        return self.noise.draw(like.expand(shape).flatten(0, 1), rates).view(shape)

    def train_step(self, batch: Any, batch_idx: int) -> tuple[Tensor, dict[str, Logged]]:
        """Return the loss (T,) and the logged values. batch: any nesting of tensors (R, B, ...)."""
        return self._run("training_step", batch, batch_idx)

    def eval_step(self, name: str, batch: Any, batch_idx: int, rows_at_once: int) -> EvaluationResults:
        """Run a validation_step or test_step on a batch (R, B, ...), a few rows at once to save memory."""
        with eval_mode(self.template), torch.no_grad():
            parts = [self._run(name, of_rows, batch_idx) for of_rows in self.split_rows(batch, rows_at_once)]
        (returned, logged), *_ = parts
        of_kind = {
            kind: {key: torch.cat([part[kind][key] for part, _ in parts]) for key in returned[kind]}
            for kind in ("outputs", "correct")
        }
        return EvaluationResults(
            outputs=of_kind["outputs"],
            correct=of_kind["correct"],
            logged={
                key: replace(entry, value=torch.cat([part[key].value for _, part in parts]))
                for key, entry in logged.items()
            },
        )

    def split_rows(self, batch: Any, rows_at_once: int) -> Iterator[Any]:
        """Iterate over parts of a batch (R, B, ...); a step in between runs on the rows of that part."""
        whole = self.shape
        try:
            for first in range(0, whole[0], rows_at_once):
                rows = slice(first, min(first + rows_at_once, whole[0]))
                self.first_row, self.shape = first, (rows.stop - first, whole[1])
                yield batch if rows_at_once >= whole[0] else map_tensors(itemgetter(rows), batch)
        finally:
            self.first_row, self.shape = 0, whole

    def _dtype(self) -> torch.dtype:
        """Return the type of new tensors in a step: as under the Trainer, double with 64-true and else single."""
        is_double = all(value.dtype == torch.float64 for value in self.parameters.values())
        return torch.float64 if is_double else torch.float32

    @contextlib.contextmanager
    def hooking_outputs(self, hook: OutputHook) -> Iterator[None]:
        """Pass the outputs of layers to a function within the block."""
        self.output_hook = hook
        try:
            yield
        finally:
            self.output_hook = None

    @contextlib.contextmanager
    def on_copies(self, dtype: torch.dtype | None = None) -> Iterator[None]:
        """Run steps on copies of all tensors within the block, of this type if one is given."""
        original = self.parameters, self.buffers
        attributes = {module: dict(vars(module)) for module in self.template.modules()}
        lists = [value for values in attributes.values() for value in values.values() if type(value) is list]
        contents = [[*value] for value in lists]
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
            self.parameters, self.buffers = original
            for module, values in attributes.items():
                vars(module).clear()
                vars(module).update(values)
            for value, content in zip(lists, contents, strict=True):  # a step may append to them
                value[:] = content

    def _run(self, name: str, batch: Any, batch_idx: int) -> tuple[Any, dict[str, Logged]]:
        """Return the loss (T,) of a training step or the outputs (T, B, ...) of another, and the logged values."""
        options: dict[str, LogOptions] = {}
        is_training = name == "training_step"

        def run_trial(state: Mapping[str, Tensor], trial_marker: Tensor, batch: Any) -> Any:
            self.trial_marker = trial_marker
            with CapturedLog(self.template, batch, is_training=is_training) as log:
                output, assigned = functional_call(self._step, state, (name, batch, batch_idx))  # type: ignore[arg-type]
            options.update(log.options)
            if is_training:
                return require_loss(output), log.values, assigned
            selected = {
                "outputs": example_outputs(output, batch) if self._has_epoch_metrics else {},
                "correct": find_correct(output, batch) if name == "test_step" else {},
            }
            return selected, log.values, assigned

        state = {
            f"module.{key}": (value := self.get(key)).view(*self.shape, *value.shape[1:]) for key in self._tensor_names
        }
        trial_markers = self._trial_markers[self.first_row : self.first_row + self.shape[0]]
        over_columns = vmap(run_trial, in_dims=(0, 0, None), randomness="different")
        try:
            with default_dtype(self._dtype()), _NoDraws():
                returned, values, assigned = vmap(over_columns, randomness="different")(state, trial_markers, batch)
        finally:
            self.trial_marker = None
        for key, value in assigned.items():
            self.get(key).copy_(value.detach().flatten(0, 1))
        logged = {key: Logged(value=value.flatten(), options=options[key]) for key, value in values.items()}
        return map_tensors(lambda value: value.flatten(0, 1), returned), logged


def _stack_tensors(named: Sequence[Mapping[str, Tensor]]) -> dict[str, tuple[Tensor, bool]]:
    """Stack tensors by name (T, *shape), zeros for a trial that has none. Return them, and whether they are trained."""
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


def _find_first_names(module: nn.Module) -> dict[str, str]:
    """Map every name of a parameter to the first name of the same one, for parameters that are tied."""
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    return {name: first[id(parameter)] for name, parameter in module.named_parameters(remove_duplicate=False)}


class _Step(nn.Module):
    """Module whose forward is a step of a LightningModule, for `functional_call`."""

    def __init__(self, module: LightningModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, name: str, batch: Any, batch_idx: int) -> tuple[Any, dict[str, Tensor]]:
        """Return what the step returns, and the buffers that it assigned anew."""
        before = dict(self.module.named_buffers())
        output = call_step(self.module, name, batch, batch_idx)
        after = dict(self.module.named_buffers())
        return output, {key: value for key, value in after.items() if value is not before.get(key)}


class _NoDraws:
    """Check that a `with` block draws nothing from the global generators: trials would share such a draw."""

    def __enter__(self) -> None:
        self._before = _get_generator_states()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None and _get_generator_states() != self._before:
            raise NotFusable("a step draws random numbers outside nn.Dropout, which would be the same in all trials")


def _get_generator_states() -> tuple[Any, ...]:
    numbers = np.random.get_state(legacy=False)  # noqa: NPY002 -- the global generator is what user code draws from
    return (
        random.getstate(),
        (numbers["state"]["key"].tobytes(), numbers["state"]["pos"]),
        torch.default_generator.get_state().numpy().tobytes(),
        *(state.numpy().tobytes() for state in (torch.cuda.get_rng_state_all() if _uses_cuda() else [])),
    )


def _uses_cuda() -> bool:
    """Return whether CUDA is in use. Unlike `is_available`, this does not search for a driver, slower than a step."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]

"""Mechanisms of one trial, measured on a clone of its module. B examples of the probe."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torchmetrics import Metric

from experiments.training.epoch_metrics import Metrics, compute_epoch_metrics, example_outputs, has_epoch_metrics
from experiments.training.step_harness import LogCall, call_step, eval_mode, find_loss, replace_log

from .layer_outputs import (
    OutputRecorder,
    classify_layer,
    disable_dropout,
    disable_inplace,
    find_layers,
    find_weights,
    hook_outputs,
    order_by_data_flow,
)
from .probe import count_examples
from .probe_metrics import ProbePass, compute_metrics
from .quantities import norm


def measure_probe(
    clone: LightningModule, probe: Any, measure: Sequence[str], updates: Mapping[str, Tensor], context: Any
) -> Metrics:
    """Compute the metrics of one pass over the probe.

    Args:
        clone: of the module in training; it is used up.
        probe: a batch of B examples.
        measure: quantities.
        updates: name of a parameter -> (1,), of the epoch's last step.
        context: of the Trainer, for training steps.

    Raises:
        ValueError: the step returns no loss, or one that depends on no parameter.
    """
    disable_dropout(clone)
    disable_inplace(clone)
    replace_log(clone, lambda _: True)
    modules = find_layers(clone)
    recorder = OutputRecorder(modules)
    outputs: dict[str, list[Tensor]] = {}

    def record(name: str, output: Tensor) -> Tensor:
        outputs.setdefault(name, []).append(output)
        recorder.add(name, output.detach().unsqueeze(0))
        return output.clone()  # so that in-place operations do not change the recorded output

    has_gradients = "gradients" in measure
    with context, torch.set_grad_enabled(has_gradients), hook_outputs(modules, record):
        loss = find_loss(call_step(clone, "training_step", probe, 0))
    if loss is None:
        raise ValueError("its training_step returns no loss")
    owners = find_weights(clone)
    weights = {name: weight for name, weight in clone.named_parameters() if name in owners}
    weight_gradients: dict[str, Tensor] = {}
    output_gradients: dict[str, list[Tensor]] = {}
    if has_gradients:
        weight_gradients, output_gradients = compute_gradients(loss, weights, outputs)
    probe_pass = ProbePass(
        order=order_by_data_flow(clone, recorder.outputs),
        weights={name: weight.detach().unsqueeze(0) for name, weight in weights.items()},
        owners=owners,
        outputs=recorder.outputs,
        kinds={name: [classify_layer(modules[name])] for name in recorder.outputs},
        num_examples=count_examples(probe),
        weight_gradients={name: gradient.unsqueeze(0) for name, gradient in weight_gradients.items()},
        output_gradients={name: [call.unsqueeze(0) for call in calls] for name, calls in output_gradients.items()},
        updates=updates,
    )
    return compute_metrics(probe_pass, measure)[0]


def compute_gradients(
    loss: Tensor, weights: Mapping[str, Tensor], outputs: Mapping[str, Sequence[Tensor]]
) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
    """Compute the gradients of a loss, by name, for the weights and outputs that it depends on.

    Raises:
        ValueError: the loss depends on no parameter.
    """
    if not loss.requires_grad:
        raise ValueError("the loss that its training_step returns depends on no parameter")
    trained = {name: weight for name, weight in weights.items() if weight.requires_grad}
    reached = {name: calls for name, calls in outputs.items() if all(call.requires_grad for call in calls)}
    sources = [*trained.values(), *(call for calls in reached.values() for call in calls)]
    gradients = iter(torch.autograd.grad(loss, sources, allow_unused=True) if sources else ())
    weight_gradients = {name: next(gradients) for name in trained}
    output_gradients = {name: [next(gradients) for _ in calls] for name, calls in reached.items()}
    return (
        {name: _to_dense(gradient) for name, gradient in weight_gradients.items() if gradient is not None},
        {
            name: [
                torch.zeros_like(x) if g is None else _to_dense(g) for x, g in zip(reached[name], calls, strict=True)
            ]
            for name, calls in output_gradients.items()
            if any(gradient is not None for gradient in calls)
        },
    )


def compute_update_ratios(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Divide the RMS of a step's change by the RMS of the weight, by name (T,). before, after: name -> (T, *shape)."""
    return {name: norm(after[name].detach() - old) / norm(old) for name, old in before.items()}


def _to_dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def measure_validation(clone: LightningModule, batches: Sequence[Any], context: Any) -> dict[str, float]:
    """Compute the metrics that the validation step logs on some batches, as a validation of them would.

    Args:
        clone: of the module; its parameters, buffers and modes do not change.
        batches: of training examples.
        context: of the Trainer, for validation steps.
    """
    for part in clone.modules():
        if isinstance(part, Metric):
            part.reset()
    logged = _LoggedMeans()
    replace_log(clone, logged.take)
    outputs: list[dict[str, Tensor]] = []
    with context, eval_mode(clone), torch.no_grad():
        for number, batch in enumerate(batches):
            logged.start_batch(count_examples(batch))
            output = call_step(clone, "validation_step", batch, number)
            outputs.append(example_outputs(output, batch) if has_epoch_metrics(clone) else {})
        whole = {name: torch.cat([of_batch[name] for of_batch in outputs]) for name in outputs[0]}
        epoch_metrics = compute_epoch_metrics(clone, "val", whole)
    return logged.compute_means() | {name: float(value) for name, value in epoch_metrics.items()}


class _LoggedMeans:
    """Means over steps of the values that a module logs."""

    def __init__(self) -> None:
        self._num_examples = 1
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._metrics: dict[str, Metric] = {}

    def start_batch(self, num_examples: int) -> None:
        """Set the weight of the next step, for values that are logged without a batch size."""
        self._num_examples = num_examples

    def take(self, call: LogCall) -> bool:
        """Add a value that is averaged; other values are dropped."""
        if isinstance(call.value, Metric):
            self._metrics[call.name] = call.value
        elif call.is_mean and isinstance(call.value, Tensor | int | float):
            value = torch.as_tensor(call.value).detach()
            if value.numel() == 1:
                weight = call.batch_size or self._num_examples
                total, weights = self._sums.get(call.name, (0.0, 0))
                self._sums[call.name] = (total + value.double().cpu() * weight, weights + weight)
        return True

    def compute_means(self) -> dict[str, float]:
        """Return the mean of every value, and every torchmetrics value that is one number."""
        means = {name: float(total) / weight for name, (total, weight) in self._sums.items()}
        computed = {name: metric.compute() for name, metric in self._metrics.items()}
        return means | {name: float(value) for name, value in computed.items() if value.numel() == 1}

"""Mechanisms of one trial, measured on a copy of its module. B examples of the probe."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torchmetrics import Metric

from experiments.training.epoch_metrics import Metrics, compute_epoch_metrics, example_outputs, has_epoch_metrics
from experiments.training.step_harness import LogCall, call_step, eval_mode, find_loss, replace_log

from .layer_outputs import Recorder, hooked, in_flow, kind_of, watched, weights_of, without_dropout, without_inplace
from .probe import size_of
from .probe_metrics import Seen, metrics_of
from .quantities import norm, ratio


def probed(
    twin: LightningModule, probe: Any, measure: Sequence[str], updates: Mapping[str, Tensor], context: Any
) -> Metrics:
    """The metrics of one pass over the probe.

    Arguments:
        twin: a copy of the module in training, which is used up.
        probe: a batch of B examples.
        measure: quantities.
        updates: name of a parameter -> (1,), of the epoch's last step.
        context: the Trainer's, in which training steps run.

    Raises:
        ValueError: when the step has no loss to differentiate.
    """
    without_dropout(twin)
    without_inplace(twin)
    replace_log(twin, lambda _: True)
    modules = watched(twin)
    recorder = Recorder(modules)
    recorded: dict[str, list[Tensor]] = {}

    def tell(name: str, output: Tensor) -> Tensor:
        recorded.setdefault(name, []).append(output)
        recorder.add(name, output.detach().unsqueeze(0))
        return output.clone()  # an operation in place on it is then none on what is recorded

    has_gradients = "gradients" in measure
    with context, torch.set_grad_enabled(has_gradients), hooked(modules, tell):
        loss = find_loss(call_step(twin, "training_step", probe, 0))
    if loss is None:
        raise ValueError("its training_step returns no loss")
    owners = weights_of(twin)
    weights = {name: weight for name, weight in twin.named_parameters() if name in owners}
    of_weights: dict[str, Tensor] = {}
    of_outputs: dict[str, list[Tensor]] = {}
    if has_gradients:
        of_weights, of_outputs = gradients_of(loss, weights, recorded)
    seen = Seen(
        order=in_flow(twin, recorder.outputs),
        weights={name: weight.detach().unsqueeze(0) for name, weight in weights.items()},
        owners=owners,
        outputs=recorder.outputs,
        kinds={name: [kind_of(modules[name])] for name in recorder.outputs},
        num_examples=size_of(probe),
        weight_gradients={name: gradient.unsqueeze(0) for name, gradient in of_weights.items()},
        output_gradients={name: [each.unsqueeze(0) for each in calls] for name, calls in of_outputs.items()},
        updates=updates,
    )
    return metrics_of(seen, measure)[0]


def gradients_of(
    loss: Tensor, weights: Mapping[str, Tensor], outputs: Mapping[str, Sequence[Tensor]]
) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
    """The gradients of a loss, by name, of those weights and outputs that it is computed from.

    Raises:
        ValueError: when there is nothing to differentiate.
    """
    if not loss.requires_grad:
        raise ValueError("the loss that its training_step returns depends on no parameter")
    trained = {name: weight for name, weight in weights.items() if weight.requires_grad}
    reached = {name: calls for name, calls in outputs.items() if all(call.requires_grad for call in calls)}
    sources = [*trained.values(), *(call for calls in reached.values() for call in calls)]
    found = torch.autograd.grad(loss, sources, allow_unused=True) if sources else ()
    gradients = iter(found)
    of_weights = {name: next(gradients) for name in trained}
    of_outputs = {name: [next(gradients) for _ in calls] for name, calls in reached.items()}
    return (
        {name: _dense(gradient) for name, gradient in of_weights.items() if gradient is not None},
        {
            name: [
                torch.zeros_like(x) if g is None else _dense(g) for x, g in zip(reached[name], of_calls, strict=True)
            ]
            for name, of_calls in of_outputs.items()
            if any(gradient is not None for gradient in of_calls)
        },
    )


def update_ratios(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """RMS of what a step changed over RMS of what was there, by name, (T,). before, after: name -> (T, *shape)."""
    return {name: ratio(norm(after[name].detach() - old), norm(old)) for name, old in before.items()}


def _dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def evaluated(twin: LightningModule, batches: Sequence[Any], context: Any) -> dict[str, float]:
    """What the validation step of a copy, in evaluation mode, logs on some batches, as a validation of them would.

    Arguments:
        twin: a copy of the module; its parameters, buffers and modes stay as they are.
        batches: of examples.
        context: the Trainer's, in which validation steps run.
    """
    for part in twin.modules():
        if isinstance(part, Metric):
            part.reset()
    logged = _LoggedMeans()
    replace_log(twin, logged.take)
    outputs: list[dict[str, Tensor]] = []
    with context, eval_mode(twin), torch.no_grad():
        for number, batch in enumerate(batches):
            logged.start_batch(size_of(batch))
            output = call_step(twin, "validation_step", batch, number)
            outputs.append(example_outputs(output, batch) if has_epoch_metrics(twin) else {})
        whole = {name: torch.cat([of_batch[name] for of_batch in outputs]) for name in outputs[0]}
        of_epoch = compute_epoch_metrics(twin, "val", whole)
    return logged.means() | {name: float(value) for name, value in of_epoch.items()}


class _LoggedMeans:
    """Means over steps of the values that a module logs."""

    def __init__(self) -> None:
        self._num_examples = 1
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._metrics: dict[str, Metric] = {}

    def start_batch(self, num_examples: int) -> None:
        """Set the weight of the next step, which holds where the module gives no batch size."""
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

    def means(self) -> dict[str, float]:
        """Return the mean of every value, and every torchmetrics value that is one number."""
        means = {name: float(total) / weight for name, (total, weight) in self._sums.items()}
        computed = {name: metric.compute() for name, metric in self._metrics.items()}
        return means | {name: float(value) for name, value in computed.items() if value.numel() == 1}

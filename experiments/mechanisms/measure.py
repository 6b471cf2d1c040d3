"""Mechanisms of one trial, measured on a copy of its module. B examples of the probe."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torchmetrics import Metric

from experiments.training.steps import call_step, has_epoch_metrics, measured, of_examples

from .layer_outputs import Recorder, hooked, in_flow, kind_of, watched, weights_of, without_dropout
from .module_copy import Heard
from .probe import size_of
from .probe_metrics import Metrics, Seen, metrics_of


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
    Heard(twin)
    modules = watched(twin)
    recorder = Recorder(modules)
    recorded: dict[str, list[Tensor]] = {}

    def tell(name: str, output: Tensor) -> Tensor:
        recorded.setdefault(name, []).append(output)
        recorder.add(name, output.detach().unsqueeze(0))
        return output.clone()  # an operation in place on it is then none on what is recorded

    has_gradients = "gradients" in measure
    with context, torch.set_grad_enabled(has_gradients), hooked(modules, tell):
        loss = loss_of(call_step(twin, "training_step", probe, 0))
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


def _dense(gradient: Tensor) -> Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient


def has_loss(output: Any) -> bool:
    """Whether there is a loss in what a training step returned, so that a step of the optimizer follows."""
    return isinstance(output.get("loss") if isinstance(output, Mapping) else output, Tensor)


def loss_of(output: Any) -> Tensor:
    """The loss in what a training step returned.

    Raises:
        ValueError: when there is none.
    """
    if not has_loss(output):
        raise ValueError("its training_step returns no loss")
    loss: Tensor = output["loss"] if isinstance(output, Mapping) else output
    return loss


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
    modes = {part: part.training for part in twin.modules()}
    twin.eval()
    heard = Heard(twin)
    outputs: list[dict[str, Tensor]] = []
    with context, torch.no_grad():
        for number, batch in enumerate(batches):
            heard.num_examples = size_of(batch)
            output = call_step(twin, "validation_step", batch, number)
            outputs.append(of_examples(output, batch) if has_epoch_metrics(twin) else {})
        whole = {name: torch.cat([of_batch[name] for of_batch in outputs]) for name in outputs[0]}
        of_epoch = measured(twin, "val", whole)
    for part, is_training in modes.items():
        part.training = is_training
    return heard.means() | {name: float(value) for name, value in of_epoch.items()}

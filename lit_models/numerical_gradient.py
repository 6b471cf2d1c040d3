"""An MLP that can compute its gradient by finite differences, to measure what back-propagation saves.

Shapes: N parameters.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from ablation_suite.argument_checks import check_choice
from lit_models.activations import Activation
from lit_models.classifier import Head
from lit_models.initialisation import Init
from lit_models.mlp import MLP
from lit_models.network import Batch

GradientBy = Literal["backprop", "forward_differences", "central_differences"]


class NumericalGradientMLP(MLP):
    """An MLP whose gradient is computed by a chosen method; everything else is the same.

    | gradient | entry i | loss evaluations per step |
    |---|---|---|
    | backprop | the chain rule, backwards through the network (Rumelhart, Hinton & Williams 1986) | 1 |
    | forward_differences | (L(w + h e_i) - L(w)) / h | N + 1 |
    | central_differences | (L(w + h e_i) - L(w - h e_i)) / 2h | 2N |

    h balances truncation and rounding: max(1, |w_i|) times the square root of the machine epsilon for forward
    differences, and its cube root for central ones (Press et al. 2007, Numerical Recipes, section 5.7). Use the Trainer
    with `precision: 64-true`: in single precision, differences are accurate to only two or three digits.

    Each training step logs gradient/evaluations, gradient/seconds (of these evaluations and, for back-propagation, the
    backward pass) and gradient/relative_error (the norm of the difference from back-propagation's gradient, divided by
    the norm of the latter), as means over an epoch. The cost of logging, a loss and a comparison, is not counted.

    Args:
        hidden: see `MLP`.
        gradient: a row of the table above.
        activation: see `MLP`.
        init: see `MLP`.
        optimizer: see `MLP`.
        lr_scheduler: see `MLP`.
        head: see `MLP`.
        input_shape: see `MLP`.
        num_classes: see `MLP`.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    >>> NumericalGradientMLP([4], gradient="central_difference")
    Traceback (most recent call last):
    ValueError: NumericalGradientMLP: gradient is 'central_difference'; accepted: 'backprop', 'forward_differences', \
'central_differences'; did you mean 'central_differences'?
    """

    def __init__(
        self,
        hidden: Sequence[int] = (8,),
        *,
        gradient: GradientBy = "backprop",
        activation: Activation = "relu",
        init: Init = "default",
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
        head: Head = "softmax",
        input_shape: Sequence[int] | None = None,
        num_classes: int | None = None,
    ) -> None:
        check_choice(type(self).__name__, "gradient", gradient, get_args(GradientBy))
        super().__init__(
            hidden,
            activation=activation,
            init=init,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            head=head,
            input_shape=input_shape,
            num_classes=num_classes,
        )
        self.gradient = gradient
        self._batch: Batch | None = None
        self._gradient_metrics: dict[str, float] = {}

    def on_fit_start(self) -> None:
        """Raise if the Trainer adds up gradients of several batches.

        Raises:
            ValueError: the Trainer accumulates gradients.
        """
        super().on_fit_start()
        if (number := self.trainer.accumulate_grad_batches) != 1:
            raise ValueError(
                f"{type(self).__name__}: the trainer's accumulate_grad_batches is {number}; accepted: 1, because each "
                "step uses the gradient of one batch"
            )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Keep the batch, whose loss finite differences evaluate again."""
        self._batch = batch

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Write the gradient into the parameters for the optimizer. Lightning calls this. loss: a scalar."""
        assert self._batch is not None
        inputs, target = self._batch
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        evaluations = 0

        def evaluate() -> Tensor:
            nonlocal evaluations
            evaluations += 1
            return nn.functional.cross_entropy(self(inputs), target)

        exact = torch.autograd.grad(loss, parameters)  # before parameters change in place, which autograd would reject
        started = time.perf_counter()
        if self.gradient == "backprop":
            gradients = torch.autograd.grad(evaluate(), parameters)
        else:
            with torch.no_grad():
                gradients = _compute_differences(
                    evaluate, parameters, is_central=self.gradient == "central_differences"
                )
        seconds = time.perf_counter() - started
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        pairs = zip(gradients, exact, strict=True)
        error = sum(float((one - other).square().sum()) for one, other in pairs) ** 0.5
        norm = sum(float(gradient.square().sum()) for gradient in exact) ** 0.5
        self._gradient_metrics = {
            "gradient/evaluations": float(evaluations),
            "gradient/seconds": seconds,
            "gradient/relative_error": error / norm if norm > 0 else error,
        }

    def on_after_backward(self) -> None:
        """Log the cost of this step's gradient and its distance from back-propagation's."""
        assert self._batch is not None
        self.log_dict(self._gradient_metrics, on_step=False, on_epoch=True, batch_size=len(self._batch[1]))
        self._batch = None


def _compute_differences(
    evaluate: Callable[[], Tensor], parameters: Sequence[nn.Parameter], *, is_central: bool
) -> tuple[Tensor, ...]:
    """Return the gradient of a loss from changes of one parameter entry at a time, each of which is undone."""
    gradients = []
    at_zero = 0.0 if is_central else evaluate().item()
    for parameter in parameters:
        relative = torch.finfo(parameter.dtype).eps ** (1 / 3 if is_central else 1 / 2)
        flat = parameter.detach().view(-1)  # shares its memory
        gradient = torch.empty_like(flat)
        for entry, value in enumerate(flat.tolist()):
            step = relative * max(1.0, abs(value))
            flat[entry] = value + step
            above = flat[entry].item()  # rounded, as the loss sees it
            right = evaluate().item()
            if is_central:
                flat[entry] = value - step
                gradient[entry] = (right - evaluate().item()) / (above - flat[entry].item())
            else:
                gradient[entry] = (right - at_zero) / (above - value)
            flat[entry] = value
        gradients.append(gradient.view_as(parameter))
    return tuple(gradients)

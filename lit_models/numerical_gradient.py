"""An MLP that may take its gradient from differences of the loss, to see what back-propagation saves.

N parameters.
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
    """An MLP whose optimizer gets the gradient that a method of one's choice finds, everything else being equal.

    | gradient | entry i | evaluations of the loss a step |
    |---|---|---|
    | backprop | the chain rule, backwards through the network (Rumelhart, Hinton & Williams 1986) | 1 |
    | forward_differences | (L(w + h e_i) - L(w)) / h | N + 1 |
    | central_differences | (L(w + h e_i) - L(w - h e_i)) / 2h | 2N |

    h is where truncation and rounding are about equally large, times max(1, |w_i|): the square root of the machine's
    epsilon for forward differences and its cube root for central ones (Press et al. 2007, Numerical Recipes, section
    5.7). Give the Trainer `precision: 64-true`: in single precision, differences are right to two or three digits only.

    Each training step logs gradient/evaluations, gradient/seconds (of these evaluations and, for back-propagation, the
    way back) and gradient/relative_error (the norm of its difference from back-propagation's over the latter's norm),
    means over an epoch. What the log costs, a loss and a comparison, is not counted.

    Args:
        hidden: as for `MLP`, and so are the others but one.
        gradient: see above.
        activation: see `MLP`.
        init: see `MLP`.
        optimizer: see `MLP`.
        lr_scheduler: see `MLP`.
        head: see `MLP`.
        input_shape: see `MLP`.
        num_classes: see `MLP`.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

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
        self._measured: dict[str, float] = {}

    def on_fit_start(self) -> None:
        """Refuse what adds gradients of several batches up.

        Raises:
            ValueError: the Trainer accumulates gradients.
        """
        super().on_fit_start()
        if (number := self.trainer.accumulate_grad_batches) != 1:
            raise ValueError(
                f"{type(self).__name__}: the trainer's accumulate_grad_batches is {number}; accepted: 1, since each "
                "step has the gradient of one batch"
            )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Keep the batch: differences evaluate its loss again."""
        self._batch = batch

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Leave the gradient in the parameters, where the optimizer finds it; Lightning calls this. loss: a scalar."""
        assert self._batch is not None
        inputs, target = self._batch
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        evaluations = 0

        def evaluate() -> Tensor:
            nonlocal evaluations
            evaluations += 1
            return nn.functional.cross_entropy(self(inputs), target)

        exact = torch.autograd.grad(loss, parameters)  # before parameters move, which autograd would notice
        started = time.perf_counter()
        if self.gradient == "backprop":
            found = torch.autograd.grad(evaluate(), parameters)
        else:
            with torch.no_grad():
                found = _differences(evaluate, parameters, is_central=self.gradient == "central_differences")
        seconds = time.perf_counter() - started
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        error = sum(float((mine - own).square().sum()) for mine, own in zip(found, exact, strict=True)) ** 0.5
        norm = sum(float(own.square().sum()) for own in exact) ** 0.5
        self._measured = {
            "gradient/evaluations": float(evaluations),
            "gradient/seconds": seconds,
            "gradient/relative_error": error / norm if norm > 0 else error,
        }

    def on_after_backward(self) -> None:
        """Log what the gradient of this step took, and how far it is from back-propagation's."""
        assert self._batch is not None
        self.log_dict(self._measured, on_step=False, on_epoch=True, batch_size=len(self._batch[1]))
        self._batch = None


def _differences(
    evaluate: Callable[[], Tensor], parameters: Sequence[nn.Parameter], *, is_central: bool
) -> tuple[Tensor, ...]:
    """The gradient of a loss by moving one entry of the parameters at a time, which all are put back."""
    found = []
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
        found.append(gradient.view_as(parameter))
    return tuple(found)

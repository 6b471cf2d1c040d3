"""Base class of networks that predict numbers: loss and metrics.

Shapes: B batch, N examples of an epoch, K predicted numbers of an example.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lit_models.losses import RegressionLoss, parse_loss_weights, regression_loss
from lit_models.metrics import r2, rmse
from lit_models.network import Batch, Network, Outputs, Split


class Regressor(Network):
    """Base class of regression networks, shipped or your own.

    Every split logs the loss and mae, the mean absolute error. Validation and test also log rmse, the root mean squared
    error, and r2, over all examples (of all loaders of the split, on one device). Errors are in the unit of the data
    module's targets; r2 has no unit.

    The layers are built as soon as the sizes are known: in the constructor if `input_shape` and `num_outputs` are
    given, otherwise when the Trainer starts, from the data module's attributes of the same names. See `Network` for
    this and for penalties.

    Args:
        optimizer: a function from the parameters to an optimizer.
        lr_scheduler: a function from the optimizer to a scheduler of its learning rate, which steps after each epoch;
            None keeps the rate constant.
        loss: mse, l1 or huber, see `regression_loss`, or a weight for each of several.
        l1: the factor of the sum of absolute weights in the loss; None for no penalty.
        l2: the factor of half the sum of squared weights in the loss; None for no penalty.
        input_shape: the shape of one example, such as (10,); None takes the data module's.
        num_outputs: K; None takes the data module's.

    Raises:
        ValueError: an argument is not accepted; the message lists what is.

    >>> class Line(Regressor):
    ...     def make_layers(self, input_shape, num_outputs):
    ...         return torch.nn.Linear(input_shape[0], num_outputs)
    >>> Line(input_shape=(10,), num_outputs=1)(torch.zeros(32, 10)).shape
    torch.Size([32, 1])
    """

    def __init__(
        self,
        *,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
        loss: RegressionLoss | dict[RegressionLoss, float] = "mse",
        l1: float | None = None,
        l2: float | None = None,
        input_shape: Sequence[int] | None = None,
        num_outputs: int | None = None,
    ) -> None:
        self.loss_weights = parse_loss_weights(type(self).__name__, loss, RegressionLoss)
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            l1=l1,
            l2=l2,
            sizes={"input_shape": input_shape, "num_outputs": num_outputs},
        )

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the metrics of an epoch that are not means over batches: rmse and r2.

        Args:
            split: the prefix of the metrics' names.
            outputs: the tensors that the split's step returned, over all batches: predictions and target (N, K).
        """
        if not {"predictions", "target"} <= outputs.keys():
            return {}
        predictions, target = outputs["predictions"], outputs["target"]
        return {f"{split}/rmse": rmse(predictions, target), f"{split}/r2": r2(predictions, target)}

    def shared_step(self, batch: Batch, split: Split) -> tuple[Tensor, Tensor]:
        """Log metrics of a batch and return its loss, a scalar, and predictions (B, K).

        batch: inputs (B, *input_shape) and target (B, K), or (B,) if K is 1.

        Raises:
            ValueError: the target has another shape or is not floating-point.
        """
        inputs, target = batch
        predictions = self(inputs)
        target = self._match_shape(target, predictions)
        loss = regression_loss(self.loss_weights, predictions, target)
        metrics = {f"{split}/loss": loss, f"{split}/mae": (predictions - target).abs().mean()}
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(target))
        return loss, predictions

    def shared_eval_step(self, batch: Batch, split: Literal["val", "test"]) -> Outputs:
        """Log loss and mean absolute error of a batch and return the loss, predictions (B, K) and target (B, K)."""
        loss, predictions = self.shared_step(batch, split)
        return {"loss": loss, "predictions": predictions, "target": self._match_shape(batch[1], predictions)}

    def _match_shape(self, target: Tensor, predictions: Tensor) -> Tensor:
        """Return the target as (B, K): broadcasting (B,) against (B, 1) would compare each example with all others."""
        name = type(self).__name__
        if not target.is_floating_point():
            raise ValueError(f"{name}: the target is {target.dtype}; accepted: floating-point numbers")
        if target.dim() == 1 and predictions.shape[1] == 1:
            return target.unsqueeze(1)
        if target.shape != predictions.shape:
            raise ValueError(
                f"{name}: the target is {tuple(target.shape)}, and the predictions are {tuple(predictions.shape)}; "
                "accepted: a number for each prediction"
            )
        return target

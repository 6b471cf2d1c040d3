"""What all networks that predict numbers share: the loss and the metrics.

Shapes: B batch, N examples of an epoch, K numbers that are predicted of an example.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lit_models.losses import RegressionLoss, loss_weights, regression_loss
from lit_models.metrics import r2, rmse
from lit_models.network import Batch, Network, Outputs, Split


class Regressor(Network):
    """A network that predicts numbers: the base of every regression network here, and of yours.

    Every split logs its loss and mae, the mean absolute error; validation and test also rmse, the root of the mean
    squared error, and r2, over all their examples (of all their loaders together, on one device). They are in the
    target's unit as the data module gives it, but for r2, which has none.

    The layers are built as soon as `input_shape` and `num_outputs` are known: at once when they are given, otherwise
    when the Trainer starts, from the data module's attributes of the same names. More on that and on penalties: see
    `Network`.

    Args:
        optimizer: from the parameters to their optimizer.
        lr_scheduler: from the optimizer to a schedule of its learning rate, which advances after each epoch; None keeps
            the rate.
        loss: mse, l1 or huber, see `regression_loss`, or a weight for each of several.
        l1: the weight of the sum of absolute weights in the loss; None for no penalty.
        l2: the weight of half the sum of squared weights in the loss, likewise.
        input_shape: the shape of one example, such as (10,); None asks the data module.
        num_outputs: K; None asks the data module.

    Raises:
        ValueError: an argument is not accepted; the message says what is.

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
        self.loss_weights = loss_weights(type(self).__name__, loss, RegressionLoss)
        super().__init__(
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            l1=l1,
            l2=l2,
            sizes={"input_shape": input_shape, "num_outputs": num_outputs},
        )

    def epoch_metrics(self, split: Literal["val", "test"], outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What is measured over an epoch as a whole: rmse and r2.

        Arguments:
            split: the first part of the names.
            outputs: what the split's step returned of each example, over all batches: predictions and target (N, K).
        """
        if not {"predictions", "target"} <= outputs.keys():
            return {}
        predictions, target = outputs["predictions"], outputs["target"]
        return {f"{split}/rmse": rmse(predictions, target), f"{split}/r2": r2(predictions, target)}

    def shared_step(self, batch: Batch, split: Split) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the predictions (B, K).

        batch: inputs (B, *input_shape) and target (B, K), or (B,) where K is 1.

        Raises:
            ValueError: the target is of another shape or no floating-point number.
        """
        inputs, target = batch
        predictions = self(inputs)
        target = self._as_predictions(target, predictions)
        loss = regression_loss(self.loss_weights, predictions, target)
        metrics = {f"{split}/loss": loss, f"{split}/mae": (predictions - target).abs().mean()}
        self.log_dict(metrics, on_step=False, on_epoch=True, batch_size=len(target))
        return loss, predictions

    def shared_eval_step(self, batch: Batch, split: Literal["val", "test"]) -> Outputs:
        """Log loss and mean absolute error of a batch. Return the loss, and predictions and target (B, K)."""
        loss, predictions = self.shared_step(batch, split)
        return {"loss": loss, "predictions": predictions, "target": self._as_predictions(batch[1], predictions)}

    def _as_predictions(self, target: Tensor, predictions: Tensor) -> Tensor:
        """The target, (B, K) as the predictions: broadcasting (B,) against (B, 1) would compare all with all."""
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

"""The diabetes data set, for regression; it needs no download."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from datamodules.in_memory import BatchSize, TensorExamples
from datamodules.splits import Size
from datamodules.tensors import TensorDataModule


class Diabetes(TensorDataModule):
    """Diabetes of 442 patients: ten measurements, and the progression of the disease after a year (25 to 346).

    From Efron, Hastie, Johnstone & Tibshirani 2004, Least angle regression; shipped with scikit-learn. Inputs (10,):
    age, sex, body mass index, mean blood pressure and six blood serum values. Inputs, and optionally the target, are
    standardised with mean and standard deviation of the training split, also for validation and test. With a
    standardised target, errors are in units of its standard deviation, about 77; R² does not depend on the unit.

    Args:
        batch_size: examples in a training batch, at least 1, or "all".
        val_size: a number of examples, or a fraction of the 442, or 0 for no validation.
        standardise_target: whether the target is standardised; False keeps its original unit, in which the outputs of
            an untrained network, near 0, are 150 too low.
        options: train_size, test_size, folds, fold, seed and eval_batch_size, see `TensorDataModule`.

    Raises:
        ValueError: an argument is not accepted, or the sizes exceed 442; the message has the numbers.

    >>> data = Diabetes(batch_size=32, seed=1)
    >>> data.setup()
    >>> inputs, target = next(iter(data.train_dataloader()))
    >>> inputs.shape, target.shape
    (torch.Size([32, 10]), torch.Size([32, 1]))
    """

    input_shape = (10,)
    num_outputs = 1
    pool_size = 442

    def __init__(
        self,
        batch_size: BatchSize = 32,
        *,
        val_size: Size = 0.15,
        standardise_target: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, val_size=val_size, **options)
        self.standardise_target = standardise_target

    def load(self) -> tuple[Tensor, Tensor]:
        """Return all examples in their original units: inputs (442, 10) and target (442, 1), float32."""
        inputs, target = _load()
        return inputs.float(), target.float()

    def make_examples(self) -> TensorExamples:
        """Return all examples, standardised by the training split."""
        inputs, target = _load()
        train = self.split.train
        target = standardise(target, train) if self.standardise_target else target
        return TensorExamples(standardise(inputs, train).float(), target.float())

    def notes(self) -> list[str]:
        """Return notes for the report: the unit of the errors."""
        if not self.standardise_target:
            return []
        spread = _load()[1][self.split.train].std(correction=0).item()
        return [f"The training split standardises the target: an error of 1 is {spread:.1f} (with seed {self.seed})."]


def standardise(values: Tensor, train: Tensor) -> Tensor:
    """Scale each column to mean 0 and standard deviation 1 over the training examples: (N, D) -> (N, D).

    Args:
        values: (N, D).
        train: indices of the training examples.

    >>> import torch
    >>> standardise(torch.tensor([[1.0], [3.0], [6.0]]), torch.tensor([0, 1])).flatten().tolist()
    [-1.0, 1.0, 4.0]
    """
    known = values[train]
    return (values - known.mean(dim=0)) / known.std(dim=0, correction=0)


@cache
def _load() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_diabetes  # 1 s to import

    inputs, target = load_diabetes(return_X_y=True, scaled=False)
    return torch.from_numpy(inputs), torch.from_numpy(target).unsqueeze(1)

"""A regression data set, at hand without a network."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from datamodules.in_memory import BatchSize, TensorExamples
from datamodules.splits import Size
from datamodules.tensors import TensorDataModule


class Diabetes(TensorDataModule):
    """Scikit-learn's 442 diabetes patients: ten measurements, and how far the disease went in a year (25 to 346).

    From Efron, Hastie, Johnstone & Tibshirani 2004, Least angle regression; they come with scikit-learn. Inputs (10,):
    age, sex, body mass index, mean blood pressure and six values of blood serum. Each input, and the target where it
    is asked for, has mean 0 and standard deviation 1 over the training split, whose numbers are used for validation and
    test too. With standardised targets, losses and errors are in those standard deviations, about 77; R² is the same in
    any unit.

    Args:
        batch_size: examples in a training batch, at least 1, or "all".
        val_size: a number of examples, or a fraction of the 442, or 0 for no validation.
        standardise_target: whether the target is standardised; False keeps its own unit, for which outputs that start
            near 0 are 150 too low.
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
        """All examples, in the units of the data: inputs (442, 10) and target (442, 1), float32."""
        inputs, target = _load()
        return inputs.float(), target.float()

    def make_examples(self) -> TensorExamples:
        """What `load` gives, standardised by the training split."""
        inputs, target = _load()
        train = self.split.train
        target = standardised(target, train) if self.standardise_target else target
        return TensorExamples(standardised(inputs, train).float(), target.float())

    def notes(self) -> list[str]:
        """Sentences that a reader of results should know: the unit of the errors."""
        if not self.standardise_target:
            return []
        spread = _load()[1][self.split.train].std(correction=0).item()
        return [f"The training split standardises the target: an error of 1 is {spread:.1f} (with seed {self.seed})."]


def standardised(values: Tensor, train: Tensor) -> Tensor:
    """Each column with mean 0 and standard deviation 1 over the training examples: (N, D) -> (N, D).

    Args:
        values: (N, D).
        train: the training examples, indices.

    >>> import torch
    >>> standardised(torch.tensor([[1.0], [3.0], [6.0]]), torch.tensor([0, 1])).flatten().tolist()
    [-1.0, 1.0, 4.0]
    """
    known = values[train]
    return (values - known.mean(dim=0)) / known.std(dim=0, correction=0)


@cache
def _load() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_diabetes  # 1 s to import

    inputs, target = load_diabetes(return_X_y=True, scaled=False)
    return torch.from_numpy(inputs), torch.from_numpy(target).unsqueeze(1)

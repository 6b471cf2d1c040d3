"""Objects that a module finds as `self.trainer` when its steps run outside a Trainer.

They are two classes because one knows a few facts and refuses all else, and the other reads from a real Trainer.
"""

from typing import Any

from lightning.pytorch.loggers.logger import DummyLogger


class NeedsTrainer(Exception):  # noqa: N818 -- a finding about a module, not a fault
    """A module read an attribute of its Trainer that no stub has."""


class TrainerStub:
    """Facts about training that hold without a Trainer.

    Args:
        max_epochs: of the study's Trainer.
        num_training_batches: in an epoch.
    """

    def __init__(self, max_epochs: int, num_training_batches: int) -> None:
        self.max_epochs = max_epochs
        self.num_training_batches = num_training_batches
        self.estimated_stepping_batches = max_epochs * num_training_batches
        self.current_epoch = 0
        self.global_step = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NeedsTrainer(f"it reads self.trainer.{name}")

    def start_epoch(self, epoch: int) -> None:
        """Set the number of the current epoch."""
        self.current_epoch = epoch

    def advance_step(self) -> None:
        """Count one more training step."""
        self.global_step += 1

    def reset_steps(self) -> None:
        """Count training steps from 0 again."""
        self.global_step = 0


class QuietTrainer:
    """View of a Trainer without its loggers; attributes that are set stay here.

    Args:
        trainer: to read from.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.logger = DummyLogger()
        self.loggers: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._trainer, name)

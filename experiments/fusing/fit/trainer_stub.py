"""What a module finds in `self.trainer` while it is trained together with others."""

from typing import Any

from experiments.fusing.reasons import NotFusable


class TrainerStandIn:
    """Knows what is the same for every trial of a group; what else a module asks for needs a Trainer of its own.

    Arguments:
        max_epochs: of the study's Trainer.
        num_training_batches: of an epoch.
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
        raise NotFusable(f"it reads self.trainer.{name}")

"""What keeps trials from sharing a loop."""


class NotFusable(Exception):  # noqa: N818 -- a finding about a module, not a fault
    """Why a trial has to be trained alone, as a sentence that goes on from "stays alone: "."""


class OtherShapes(Exception):  # noqa: N818 -- a finding about a group
    """Some trials of a group have tensors of other shapes: parameters, where the vocabulary is each seed's own, or
    batches, where folds differ by an example.

    of_trials: trial id -> the shapes, as text; trials of equal shapes can share a loop.
    """

    def __init__(self, what: str, of_trials: dict[str, str]) -> None:
        super().__init__(f"the seeds' {what}")
        self.of_trials = of_trials

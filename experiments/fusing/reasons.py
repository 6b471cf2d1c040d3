"""Findings that keep trials from sharing a loop."""


class NotFusable(Exception):  # noqa: N818 -- a finding about a module, not a fault
    """A trial has to be trained unfused. The message is a clause that goes on from "not fused: "."""


class OtherShapes(Exception):  # noqa: N818 -- a finding about a group
    """Trials of a group have tensors of different shapes.

    Parameters differ if each seed has its own vocabulary, batches if folds differ by an example.

    shapes_by_trial: trial id -> shapes as text; trials of equal shapes can share a loop.
    """

    def __init__(self, what: str, shapes_by_trial: dict[str, str]) -> None:
        super().__init__(f"the seeds' {what}")
        self.shapes_by_trial = shapes_by_trial

"""What keeps trials from sharing a loop."""


class NotFusable(Exception):  # noqa: N818 -- a finding about a module, not a fault
    """Why a trial has to be trained alone, as a sentence that goes on from "stays alone: "."""


class OtherShapes(Exception):  # noqa: N818 -- a finding about a group
    """Some trials of a group have parameters of other shapes, as where the vocabulary is each seed's own.

    of_trials: trial id -> the shapes, as text; trials of equal shapes can share a loop.
    """

    def __init__(self, of_trials: dict[str, str]) -> None:
        super().__init__("the seeds' networks have parameters of different shapes")
        self.of_trials = of_trials

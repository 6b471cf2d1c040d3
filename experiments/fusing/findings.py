"""What keeps trials from sharing a loop."""


class NotFusable(Exception):  # noqa: N818 -- a finding about a module, not a fault
    """Why a trial has to be trained alone, as a sentence that goes on from "stays alone: "."""
